"""The network, its training, and the one-file model."""

import json
import os
import pickle
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import clustered_adata, write_h5ad
from safetensors.torch import load, save_file
from scipy import sparse
from scipy.optimize import minimize_scalar
from torch.nn import functional

from scnym import (
    NetworkSettings,
    Snapshot,
    Store,
    StreamSettings,
    TrainSettings,
    convert,
    in_order_stream,
    training_stream,
)
from scnym.base.errors import FormatError, MissingInputError, ScnymError, SettingsError
from scnym.base.progress import SILENT
from scnym.feed.batches import Batch, Layout, csr_tensor
from scnym.model.device import choose_device
from scnym.model.inference import all_logits
from scnym.model.losses import Mix, Objective, draw_mix, fit_temperature, mixed, mixed_cross_entropy, probabilities_of
from scnym.model.network import TISSUE_SCALE, CellTypeNetwork, csr_product
from scnym.model.optimizers import Optimizers
from scnym.model.snapshot import Card, read_weights, save_weights
from scnym.model.trainer import (
    TOTAL_VARIANCE,
    TrainingResult,
    fit_input_scale,
    gene_variances,
    most_variable,
    refit,
    train,
)

CPU = torch.device("cpu")
GENES, CLASSES = tuple(f"gene {k}" for k in range(60)), ("type 0", "type 1", "type 2")


def as_csr(x: torch.Tensor) -> torch.Tensor:
    matrix = sparse.csr_matrix(x.numpy())
    return csr_tensor(matrix.indptr, matrix.indices, matrix.data, matrix.shape)


def make_network(seed: int = 0, **changes) -> CellTypeNetwork:
    torch.manual_seed(seed)
    return CellTypeNetwork(len(GENES), len(CLASSES), NetworkSettings(n_hidden=16, **changes))


class Count:
    """A task that adds up what it is told."""

    n_cells = 0

    def advance(self, amount: int, note: str = "") -> None:
        del note
        self.n_cells += amount


def keep_input(seen: list[torch.Tensor], module: torch.nn.Module, inputs: tuple[torch.Tensor]) -> None:
    del module
    seen.append(inputs[0].to_dense())


def make_card(network: CellTypeNetwork, **changes) -> Card:
    del network
    content = {
        "genes": GENES,
        "classes": CLASSES,
        "label_column": "cell_type",
        "network": NetworkSettings(n_hidden=16),
        "training": TrainSettings(),
        "stream": StreamSettings(),
        "temperature": 1.5,
        "best_epoch": 3,
        "data_hash": "abc",
        "metrics": {"accuracy": 0.9},
        **changes,
    }
    return Card(**content)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(convert([write_h5ad(tmp_path / "c.h5ad", clustered_adata())], tmp_path / "c.zarr"))


def objective_of(settings: TrainSettings, device: torch.device = CPU) -> Objective:
    """For three classes that are drawn equally often."""
    return Objective(settings, np.ones(3, int), device)


def fit(
    store: Store, seed: int = 0, *, device: torch.device = CPU, layout: Layout = "dense", **changes
) -> tuple[CellTypeNetwork, TrainingResult]:
    codes = store.obs["cell_type"].cat.codes.to_numpy().astype(int)
    selected = np.arange(0, store.n_cells, 5)
    training_codes = codes.copy()
    training_codes[selected] = -1
    settings, training = StreamSettings(batch_size=32, seed=seed), TrainSettings(**{"n_epochs": 4, **changes})
    torch.manual_seed(seed)
    network, epochs = make_network(seed), []
    with SILENT.task("train", total=None, unit="cells") as task:
        result = train(
            network,
            training_stream(store, training_codes, GENES, settings, layout=layout),
            in_order_stream(store, selected, GENES, settings, codes, layout=layout),
            training,
            objective=objective_of(training, device),
            device=device,
            task=task,
            after_epoch=lambda course: epochs.append(course.epoch),
        )
    assert epochs == [record.epoch for record in result.log]
    return network, result


@pytest.mark.parametrize("residual", [False, True])
def test_hidden_blocks_do_not_share_weights(residual: bool):
    network = make_network(n_layers=3, residual=residual)
    weights = [block.state_dict() for block in network.blocks]
    assert len(weights) == 3
    pointers = [tensor.data_ptr() for block in weights for tensor in block.values() if tensor.ndim == 2]
    assert len(set(pointers)) == len(pointers)
    first = next(name for name, tensor in weights[0].items() if tensor.ndim == 2)
    assert not torch.equal(weights[0][first], weights[1][first])


@pytest.mark.parametrize("shortcut", [False, True])
def test_csr_and_dense_batches_give_the_same_logits_and_gradients(shortcut: bool):
    x = torch.poisson(torch.full((8, 60), 0.4))
    x[3] = 0
    gradients = []
    for batch in (x, as_csr(x)):
        network = make_network(shortcut=shortcut, init_dropout=0.0, hidden_dropout=0.0)
        network.input_scale.fill_(0.7)
        functional.cross_entropy(network(batch), torch.arange(8) % 3).backward()
        gradients.append({name: parameter.grad for name, parameter in network.named_parameters()})
        assert torch.isfinite(network(batch)).all()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], msg=name)


def test_input_dropout_drops_genes_of_both_layouts_in_training_only():
    x = torch.ones(200, 60)
    for batch in (x, as_csr(x)):
        network = make_network(init_dropout=0.5)
        seen: list[torch.Tensor] = []
        network.first.register_forward_pre_hook(partial(keep_input, seen))
        network.train()(batch)
        network.eval()(batch)
        assert 0.45 < (seen[0] == 0).float().mean() < 0.55
        torch.testing.assert_close(seen[1], x)


def test_a_last_batch_of_one_cell_and_a_cell_with_no_counts_give_finite_logits():
    network = make_network().eval()
    assert torch.isfinite(network(torch.rand(1, 60))).all()
    assert torch.isfinite(network(torch.zeros(1, 60))).all()
    assert torch.isfinite(network(as_csr(torch.zeros(1, 60)))).all()


def test_the_shortcut_starts_at_zero_so_that_the_hidden_path_alone_decides():
    with_shortcut, without = make_network(shortcut=True), make_network(shortcut=False)
    x = torch.rand(4, 60)
    without.load_state_dict({k: v for k, v in with_shortcut.state_dict().items() if "shortcut" not in k})
    torch.testing.assert_close(2 * with_shortcut.eval()(x), without.eval()(x))


@pytest.mark.parametrize("shortcut", [False, True])
def test_a_tissue_is_a_one_hot_appended_to_the_genes_and_exempt_from_input_dropout(shortcut: bool):
    network = CellTypeNetwork(60, 3, NetworkSettings(n_hidden=8, shortcut=shortcut), 4)
    appended = CellTypeNetwork(64, 3, NetworkSettings(n_hidden=8, shortcut=shortcut))
    weights = network.state_dict()
    for reading, tissue in (("first", "tissue"), ("shortcut", "tissue_shortcut")):
        if f"{reading}.weight" in weights:
            of_tissues = torch.rand_like(weights.pop(f"{tissue}.weight"))
            getattr(network, tissue).weight.data.copy_(of_tissues)
            weights[f"{reading}.weight"] = torch.cat([weights[f"{reading}.weight"], of_tissues.T])
    appended.load_state_dict(weights)
    x, tissues = torch.rand(6, 60), torch.tensor([0, 1, 2, 3, -1, 2])
    one_hot = TISSUE_SCALE * torch.cat([torch.eye(4), torch.zeros(1, 4)])[tissues]
    torch.testing.assert_close(network.eval()(x, tissues), appended.eval()(torch.cat([x, one_hot], dim=1)))
    torch.testing.assert_close(network(x), network(x, torch.full((6,), -1)))
    assert not torch.allclose(network(x, tissues), network(x))


def test_without_hidden_units_the_network_is_a_logistic_regression():
    torch.manual_seed(0)
    network = CellTypeNetwork(60, 3, NetworkSettings(n_hidden=0, n_layers=2))
    assert network.shortcut is not None
    torch.nn.init.normal_(network.shortcut.weight)
    x = torch.poisson(torch.full((8, 60), 0.4))
    for batch in (x, as_csr(x)):
        torch.testing.assert_close(network.train()(batch), x @ network.shortcut.weight + network.shortcut.bias)
    trained = {name for name, parameter in network.named_parameters() if parameter.numel()}
    assert trained == {"shortcut.weight", "shortcut.bias"}
    assert network.gene_importance().shape == (60,)
    with pytest.raises(SettingsError, match="no --shortcut"):
        NetworkSettings(n_hidden=0, shortcut=False)


def test_it_learns_what_scikit_learn_learns(store: Store):
    from sklearn.linear_model import LogisticRegression

    codes = store.obs["cell_type"].cat.codes.to_numpy().astype(int)
    rows = np.arange(store.n_cells)
    cells = in_order_stream(store, rows, GENES, StreamSettings(), codes, layout="csr")
    x = torch.cat([batch.x.to_dense() for batch in cells])
    network = CellTypeNetwork(60, 3, NetworkSettings(n_hidden=0))
    fit_input_scale(network, gene_variances(cells))
    settings = TrainSettings(n_epochs=150)
    with SILENT.task("train", total=None, unit="cells") as task:
        train(
            network,
            training_stream(store, codes, GENES, StreamSettings(batch_size=64), layout="csr"),
            cells,
            settings,
            objective=objective_of(settings),
            device=CPU,
            task=task,
            after_epoch=lambda _: None,
        )
    theirs = LogisticRegression(C=1.0, max_iter=2000).fit((x * network.input_scale).numpy(), codes)
    ours = probabilities_of(all_logits(network, cells, CPU)[1], 1.0)
    expected = theirs.predict_proba((x * network.input_scale).numpy())
    assert np.abs(ours - expected).mean() < 0.01


def test_gene_importance_is_zero_for_a_gene_without_weights():
    network = make_network()
    with torch.no_grad():
        network.first.weight[7] = 0
    importance = network.gene_importance()
    assert importance[7] == 0
    assert (importance[:7] > 0).all()


def test_the_input_scale_brings_the_total_variance_of_the_training_cells_to_one_number(store: Store):
    rows = np.arange(0, store.n_cells, 2)
    stream = in_order_stream(store, rows, GENES, StreamSettings(batch_size=32), layout="csr")
    network = make_network()
    variances = gene_variances(stream)
    fit_input_scale(network, variances)
    plain = torch.cat([batch.x.to_dense() for batch in stream])
    np.testing.assert_allclose(variances, plain.double().var(dim=0, unbiased=False), rtol=1e-6)
    x = plain * network.input_scale
    assert float(x.var(dim=0, unbiased=False).sum()) == pytest.approx(TOTAL_VARIANCE, rel=1e-4)


def test_the_most_variable_genes_keep_their_order_and_the_first_of_equals_wins():
    assert list(most_variable(np.array([1.0, 5, 2, 5, 2, 0]), 3)) == [1, 2, 3]
    assert list(most_variable(np.array([1.0, 5]), 9)) == [0, 1]


@pytest.mark.parametrize("shortcut", [False, True])
def test_mixing_what_the_first_layers_give_equals_mixing_the_cells(shortcut: bool):
    network = make_network(shortcut=shortcut, init_dropout=0.0, hidden_dropout=0.0)
    if network.shortcut is not None:
        torch.nn.init.normal_(network.shortcut.weight)
    x, mix = torch.poisson(torch.full((8, 60), 0.4)), Mix(0.7, torch.tensor([3, 0, 1, 2, 7, 4, 5, 6]), lambda own: own)
    layers = [layer for layer in (network.first, network.shortcut) if layer is not None]
    with_mixed_cells = network(0.7 * x + 0.3 * x[mix.partners_B])
    for batch in (x, as_csr(x)):
        with mixed(layers, mix):
            torch.testing.assert_close(network(batch), with_mixed_cells)
        assert not torch.allclose(network(batch), with_mixed_cells)


def test_a_mix_is_drawn_from_its_key_and_the_loss_counts_both_classes():
    assert draw_mix(0.0, 5, (0, 1, 2), CPU) is None
    first, again, other = (draw_mix(0.4, 50, (0, 1, number), CPU) for number in (2, 2, 3))
    assert first is not None
    assert again is not None
    assert other is not None
    assert (first.share, list(first.partners_B)) == (again.share, list(again.partners_B))
    assert first.share != other.share
    assert 0.5 <= first.share <= 1
    assert sorted(first.partners_B) == list(range(50))
    logits, labels = torch.randn(2, 3), torch.tensor([0, 2])
    soft = torch.tensor([[0.8, 0, 0.2], [0.2, 0, 0.8]])
    loss = mixed_cross_entropy(logits, labels, Mix(0.8, torch.tensor([1, 0]), lambda own: own))
    torch.testing.assert_close(loss, functional.cross_entropy(logits, soft))


def test_training_with_mixup_learns_and_is_the_same_to_the_bit(store: Store):
    (first, result), (again, _), (without, _) = (fit(store, n_epochs=8, mixup_alpha=a) for a in (0.3, 0.3, 0.0))
    assert result.log[-1].selection_accuracy > 0.9
    assert torch.equal(first.first.weight, again.first.weight)
    assert not torch.equal(first.first.weight, without.first.weight)


def test_a_device_that_is_not_there_is_a_mistake_that_names_those_that_are(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device("auto") == choose_device("cpu") == CPU
    with pytest.raises(SettingsError, match="--device: 'cuda' is not there on this machine; give auto or cpu"):
        choose_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto").type == "cuda"
    with pytest.raises(SettingsError, match="give auto or cpu or cuda"):
        choose_device("mps")


@pytest.mark.parametrize("n_tissues", [0, 2])
@pytest.mark.parametrize("optimizer", ["mixed", "adamw", "adadelta"])
def test_every_optimizer_reaches_every_parameter_once(optimizer, n_tissues: int):
    network = CellTypeNetwork(60, 3, NetworkSettings(n_hidden=8), n_tissues)
    optimizers = Optimizers(network, TrainSettings(optimizer=optimizer), n_steps=10, n_train=100)
    reached = [id(p) for o in optimizers._optimizers for group in o.param_groups for p in group["params"]]
    assert sorted(reached) == sorted(id(p) for p in network.parameters())


@pytest.mark.parametrize("optimizer", ["mixed", "adamw", "adadelta"])
def test_training_learns_classes_that_are_easy_to_tell_apart(store: Store, optimizer):
    _, result = fit(store, optimizer=optimizer, n_epochs=12)
    assert result.log[-1].selection_accuracy > 0.9


def test_the_weights_kept_are_those_of_the_epoch_with_the_least_mean_selection_loss(store: Store):
    network, result = fit(store, n_epochs=6)
    losses = [record.selection_loss for record in result.log]
    assert result.best_epoch == 1 + int(np.argmin(losses))
    codes = store.obs["cell_type"].cat.codes.to_numpy().astype(int)
    for batch_size in (7, 59, 60):  # a small last batch must not weigh more
        stream = in_order_stream(store, np.arange(0, 300, 5), GENES, StreamSettings(batch_size=batch_size), codes)
        labels, logits = all_logits(network, stream, CPU)
        assert float(functional.cross_entropy(logits, labels)) == pytest.approx(min(losses), rel=1e-5)


def test_patience_ends_training_and_the_number_of_epochs_is_what_was_asked(store: Store):
    _, result = fit(store, n_epochs=3)
    assert len(result.log) == 3
    _, patient = fit(store, n_epochs=200, patience=2)
    assert len(patient.log) < 200
    assert len(patient.log) - patient.best_epoch == 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("layout", ["dense", "csr"])
def test_a_gpu_learns_what_a_cpu_learns(store: Store, layout: Layout):
    (on_cpu, there), (on_gpu, here) = (fit(store, device=torch.device(name), layout=layout) for name in ("cpu", "cuda"))
    assert [record.train_loss for record in here.log] == pytest.approx(
        [record.train_loss for record in there.log], rel=0.1
    )
    x = torch.poisson(torch.full((8, 60), 0.4))
    with torch.no_grad():
        found, expected = on_gpu.eval()(x.to("cuda")).cpu(), on_cpu.eval()(x)
    assert (found.softmax(1) - expected.softmax(1)).abs().mean() < 0.05


def test_each_path_answers_for_itself_in_the_loss_and_their_mean_is_what_counts():
    network, objective = make_network().eval(), objective_of(TrainSettings())
    torch.nn.init.normal_(network.get_parameter("shortcut.weight"))
    labels = torch.arange(5) % 3
    batch = Batch(torch.rand(5, len(GENES)), labels, torch.full((5,), -1), np.arange(5), np.zeros(5, int), whole_size=5)
    hidden, shortcut = network.path_logits(batch.x)
    torch.testing.assert_close(network(batch.x), (hidden + shortcut) / 2)
    logits, own_loss, loss = objective.of_batch(network, network.path_logits, batch, labels, (0, 1, 2))
    torch.testing.assert_close(logits, network(batch.x))
    assert own_loss == pytest.approx(float(functional.cross_entropy(logits, labels)), rel=1e-5)
    apart = functional.cross_entropy(hidden, labels) + functional.cross_entropy(shortcut, labels)
    assert float(loss.detach()) == pytest.approx(float(apart.detach()), rel=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_how_common_a_class_is_is_learnt_but_for_the_share_that_is_not_to_be(share: float):
    draws = np.array([900, 100])
    objective = Objective(TrainSettings(logit_adjustment=share), draws, CPU)
    labels = torch.from_numpy(np.repeat([0, 1], draws))
    odds = minimize_scalar(lambda odds: float(objective.of_logits(torch.tensor([[odds, 0.0]]).expand(1000, 2), labels)))
    assert odds.x == pytest.approx((1 - share) * np.log(9), abs=0.01)


def test_a_class_that_is_not_drawn_makes_no_loss_infinite():
    objective = Objective(TrainSettings(logit_adjustment=1.0), np.array([3, 0, 5]), CPU)
    assert torch.isfinite(objective.of_logits(torch.zeros(2, 3), torch.tensor([0, 1])))


def test_a_refit_trains_on_from_the_weights_it_is_given_for_a_third_of_the_epochs(store: Store):
    network, _ = fit(store)
    codes, before = store.obs["cell_type"].cat.codes.to_numpy().astype(int), network.first.weight.detach().clone()
    stream = training_stream(store, codes, GENES, StreamSettings(batch_size=32))
    count = Count()
    settings = TrainSettings()
    refit(network, stream, settings, objective=objective_of(settings), n_epochs=2, device=CPU, task=count)
    assert count.n_cells == 2 * store.n_cells
    change = float((network.first.weight.detach() - before).norm() / before.norm())
    assert 0 < change < 0.5
    assert not network.training


def test_a_second_training_that_loses_its_way_is_undone(store: Store):
    network, _ = fit(store)
    codes = store.obs["cell_type"].cat.codes.to_numpy().astype(int)
    before = {name: weights.clone() for name, weights in network.state_dict().items()}
    stream = training_stream(store, codes, GENES, StreamSettings(batch_size=32))
    settings = TrainSettings(gene_rate=1e30)
    refit(network, stream, settings, objective=objective_of(settings), n_epochs=2, device=CPU, task=Count())
    assert all(torch.equal(weights, before[name]) for name, weights in network.state_dict().items())


def test_a_tissue_without_training_cells_says_no_more_than_one_that_is_not_known():
    network, x = CellTypeNetwork(60, 3, NetworkSettings(n_hidden=8), 3).eval(), torch.rand(4, 60)
    torch.nn.init.normal_(network.get_parameter("tissue_shortcut.weight"))
    network.deafen_to([1])
    assert torch.equal(network(x, torch.full((4,), 1)), network(x))
    assert not torch.equal(network(x, torch.full((4,), 2)), network(x))


def test_a_network_without_hidden_units_or_without_a_shortcut_has_one_path():
    x = torch.rand(4, 60)
    for settings in (NetworkSettings(n_hidden=0), NetworkSettings(n_hidden=8, shortcut=False)):
        network = CellTypeNetwork(60, 3, settings).eval()
        (only,) = network.path_logits(x)
        assert torch.equal(network(x), only)


def test_small_data_gets_more_passes_unless_told_otherwise():
    assert TrainSettings().epochs_for(n_batches=2) == 150
    assert TrainSettings().epochs_for(n_batches=1000) == 30
    assert TrainSettings(n_epochs=2).epochs_for(n_batches=2) == 2


def test_the_same_seed_gives_the_same_weights_to_the_bit_and_another_seed_others(store: Store):
    (first, _), (again, _), (other, _) = fit(store), fit(store), fit(store, seed=1)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    assert not torch.equal(first.first.weight, other.first.weight)


def test_a_loss_that_is_never_finite_is_an_error(store: Store):
    with pytest.raises(ScnymError, match="not finite"):
        fit(store, optimizer="adamw", learning_rate=1e30, n_epochs=2)


def test_the_temperature_undoes_overconfidence():
    torch.manual_seed(0)
    logits = torch.randn(4000, 5) * 2
    labels = torch.distributions.Categorical(logits=logits).sample()
    assert fit_temperature(logits, labels) == pytest.approx(1.0, abs=0.1)
    assert fit_temperature(logits * 3, labels) == pytest.approx(3.0, abs=0.3)
    np.testing.assert_allclose(probabilities_of(logits, 2.0).sum(axis=1), 1)


def test_a_few_cells_that_are_all_labelled_right_do_not_make_the_model_certain():
    logits = torch.eye(3).repeat(4, 1) * 5
    temperature = fit_temperature(logits, torch.arange(3).repeat(4))
    assert probabilities_of(logits, temperature).max() == pytest.approx(13 / 14, abs=0.01)


def test_saving_and_loading_the_model_gives_the_same_logits_to_the_bit(tmp_path: Path):
    network = make_network()
    network.train()(torch.rand(32, 60))
    path = tmp_path / "model.safetensors"
    path.write_bytes(Snapshot(make_card(network), network).to_bytes())
    loaded = Snapshot.load(path)
    x = torch.rand(9, 60)
    assert torch.equal(loaded.network(x), network.eval()(x))
    assert loaded.card == make_card(network)


def test_a_model_of_tissues_keeps_them_and_one_of_the_first_format_is_still_read(tmp_path: Path):
    network = CellTypeNetwork(60, 3, NetworkSettings(n_hidden=8), 2)
    path = tmp_path / "model.safetensors"
    card = make_card(make_network()).model_copy(
        update={"network": NetworkSettings(n_hidden=8), "tissues": ("liver", "skin"), "tissue_column": "tissue"}
    )
    path.write_bytes(Snapshot(card, network).to_bytes())
    loaded, x, tissues = Snapshot.load(path), torch.rand(9, 60), torch.arange(9) % 3 - 1
    assert loaded.card.tissues == ("liver", "skin")
    assert torch.equal(loaded.network(x, tissues), network.eval()(x, tissues))
    old = make_network()
    document = json.loads(make_card(old).model_dump_json(exclude={"tissues", "tissue_column"}))
    save_file(old.state_dict(), path, metadata={"scnym": json.dumps({**document, "format_version": 1})})
    assert torch.equal(Snapshot.load(path).network(x), old.eval()(x))


def damaged(card: dict, **changes) -> str:
    return json.dumps({**card, **changes})


def test_a_file_that_is_no_sound_model_is_refused(tmp_path: Path):
    network = make_network()
    path = tmp_path / "model.safetensors"
    content = Snapshot(make_card(network), network).to_bytes()
    weights, card = load(content), json.loads(make_card(network).model_dump_json())
    with pytest.raises(MissingInputError):
        Snapshot.load(path)
    for bad in (content[: len(content) // 2], b"", b"not a model", pickle.dumps({"a": 1})):
        path.write_bytes(bad)
        with pytest.raises(FormatError, match=r"model\.safetensors"):
            Snapshot.load(path)
    documents = {
        "not a scnym model": None,
        "newer than the 3 known here": damaged(card, format_version=99),
        "description is damaged": damaged(card, temperature=-1),
        "description is damaged ": damaged(card, surprise=1),
        "description is damaged  ": "{",
        "do not fit": damaged(card, genes=card["genes"][:-1]),
        "do not fit ": damaged(card, classes=[*card["classes"], "one more"]),
        "description is damaged   ": damaged(card, classes=["a", "a", "b"]),
        "description is damaged    ": damaged(card, temperature=1e999),
    }
    for words, document in documents.items():
        save_file(weights, path, metadata=None if document is None else {"scnym": document})
        with pytest.raises(FormatError, match=words.strip()):
            Snapshot.load(path)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path):
    network = make_network()
    with torch.no_grad():
        network.first.weight[0, 0] = float("nan")
    (tmp_path / "model.safetensors").write_bytes(Snapshot(make_card(network), network).to_bytes())
    with pytest.raises(FormatError, match="not finite"):
        Snapshot.load(tmp_path / "model.safetensors")


class Bomb:
    """Runs when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


def test_weights_are_plain_tensors_and_nothing_in_a_file_is_executed(tmp_path: Path):
    network = make_network()
    save_weights(tmp_path / "w.pkl", network)
    weights = read_weights(tmp_path / "w.pkl")
    assert all(torch.equal(weights[name], tensor) for name, tensor in network.state_dict().items())
    torch.save({"weights": Bomb(tmp_path / "boom")}, tmp_path / "bomb.pkl")
    with pytest.raises(FormatError, match="nothing in it was executed"):
        read_weights(tmp_path / "bomb.pkl")
    assert not (tmp_path / "boom").exists()


@pytest.mark.parametrize("n_cells", [0, 1, 7, 300])
@pytest.mark.parametrize("n_columns", [0, 3, 70_000])
def test_the_product_for_labelling_is_the_plain_one_whatever_the_order_of_the_genes(n_cells: int, n_columns: int):
    random = np.random.default_rng(0)
    n_genes = 40
    dense_BG = np.where(random.random((n_cells, n_genes)) < 0.2, random.random((n_cells, n_genes)), 0)
    matrix = sparse.csr_matrix(dense_BG.astype(np.float32))
    weight_GN = random.normal(size=(n_genes, n_columns)).astype(np.float32)
    for row in range(n_cells):  # genes backwards
        own = slice(matrix.indptr[row], matrix.indptr[row + 1])
        matrix.indices[own], matrix.data[own] = matrix.indices[own][::-1].copy(), matrix.data[own][::-1].copy()
    x_BG = csr_tensor(matrix.indptr, matrix.indices, matrix.data, (n_cells, n_genes))
    found = csr_product(x_BG, torch.from_numpy(weight_GN))
    np.testing.assert_allclose(found.numpy(), dense_BG @ weight_GN, atol=1e-5)
