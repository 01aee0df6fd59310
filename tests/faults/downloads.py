"""Public data sets that are not known, and lists of them that are none."""

import json
from functools import partial
from pathlib import Path

from faults.fault import Fault
from faults.tables import write_text_at

ENTRY = {"title": "t", "page": "p", "licence": "l", "citation": "c"}
FORM = "list of data sets"


def _write_list(folder: Path, *, name: str = "counts.csv", url: str = "https://lab.example/counts.csv") -> None:
    listed = {"toy": {**ENTRY, "files": [{"name": name, "url": url}]}}
    (folder / "lab.json").write_text(json.dumps(listed))


FAULTS = (
    Fault(
        what="a data set that is not known",
        form="option",
        line="data get pbmc3",
        where="scnym data get: ",
        says="no data set 'pbmc3'",
        way_out="did you mean pbmc3k?",
    ),
    Fault(
        what="it is not there",
        form=FORM,
        line="data list --registry lab.json",
        where="lab.json: ",
        says="no such list",
        way_out="check --registry",
    ),
    Fault(
        what="another kind of file",
        form=FORM,
        line="data list --registry lab.json",
        where="lab.json: ",
        says="no list of data sets",
        way_out="write it as data/README.md says",
        make=partial(write_text_at, "lab.json", "name,url\n"),
        quotes=True,
    ),
    Fault(
        what="a file that would be written elsewhere",
        form=FORM,
        line="data get toy --registry lab.json",
        where="lab.json: ",
        says="'../counts.csv' is not the name of a file",
        way_out="write it as data/README.md says",
        make=partial(_write_list, name="../counts.csv"),
    ),
    Fault(
        what="an address of another kind",
        form=FORM,
        line="data get toy --registry lab.json",
        where="ftp://lab.example/counts.csv: ",
        says="addresses of this kind are not read",
        way_out="give https, http, file",
        make=partial(_write_list, url="ftp://lab.example/counts.csv"),
    ),
)
