"""Which features of a source are genes, and what the others are: proteins, guides, peaks, spike-ins, summary rows.

What a column of `var` says of a feature counts first; of names only those that no gene has. The words for totals,
quality measures and annotations beside counts are here too; they are compared whole, without case and marks. Words that
are a gene in some species, such as ``GC`` in human and ``y`` in fly, count only where no other name can be a gene.
"""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype

from scnym.base.errors import DataError, examples
from scnym.disk.location import Location

_MARKS = re.compile(r"[^a-z0-9]+")


def plain(name: object) -> str:
    """Return a name without case and marks: `Feature.Types` and `feature_types` are one."""
    return _MARKS.sub("", str(name).casefold())


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


TOTALS = _words(
    """
    total totals grandtotal sum sums rowsum rowsums colsum colsums columnsum columnsums mean means rowmean rowmeans
    colmean colmeans average averages avg median medians totalcount totalcounts sumcounts sumofcounts countsum
    ncount ncounts ntotalcounts numcounts numberofcounts totalread totalreads nread nreads numreads readcount
    numberofreads totalumi totalumis numi numis numumi numumis umicount umicounts umisum numberofumis ntranscripts
    totaltranscripts librarysize librarysizes libsize libsizes log1ptotalcounts log10totalcounts sizefactor sizefactors
    """
)
"""Sums and means over a line or a column; both genes and cells have them."""
LONE_TOTALS = _words("count counts umi umis read reads transcripts")
"""The same in one word, which may also be what a column of counts is called."""
MEASURES = _words(
    """
    ngene ngenes ngenesbycounts numgenes genecount genecounts numberofgenes detectedgenes genesdetected ngenesdetected
    nfeature nfeatures nfeatureumi featurecount featurecounts ngenesperumi log10genesperumi genesperumi complexity
    percentmito percentmt percentribo percentrb percenthb pctmt pctmito pctcountsmt totalcountsmt totalcountsribo
    mitopercent mitoratio mitofraction fractionmito fracmito mtfrac mtratio mtpercent
    doublet doublets doubletscore doubletscores doubletprobability predicteddoublet predicteddoublets isdoublet
    scrubletscore scdblfinderscore scdblfinderclass pann sscore g2mscore cellcyclescore
    pseudotime dptpseudotime latenttime velocitypseudotime monocle3pseudotime
    leiden louvain seuratclusters seuratcluster clusterid assignedcluster origident celltype celltypes batchid
    """
)
"""Quality control, clusters and the like of cells, which no gene is called."""
MEASURE = re.compile(
    r"n_?(count|feature)s?_\w+ | (percent|pct|perc)[._-]\w[\w.-]* | pct_counts\w* | (log1p|log10|log2|log)_\w+"
    r"| \w+_snn_res[._]?[\d.]* | (leiden|louvain|cluster|res)[._-]?(res|r)?[._-]?\d[\d._]* | \w+[._](score|scores)"
    r"| (PC|PCA|UMAP|tSNE|TSNE|LSI|ICA|IC|NMF|DC|PHATE|harmony|scVI|MDS|X_umap|X_tsne|X_pca)[._]\d{1,3}"
    r"| (UMAP|tSNE)-?\d | total_counts_\w+ | pANN_[\d._]+ | DF\.classifications\S*"
    r"| (doublet|mito|ribo|mt)_?(score|fraction|ratio|percent)s?",
    re.VERBOSE | re.IGNORECASE,
)
"""The same with what they are of behind them, as Seurat and scanpy write them."""
OF_READS = _words(
    """
    nofeature ambiguous toolowaqual notaligned alignmentnotunique unmapped
    nunmapped nmultimapping nnofeature nambiguous assigned unassigned mappedreads unmappedreads multimapped
    ambiguousreads uniquelymapped
    """
)
"""Reads that no gene has: of HTSeq, STAR --quantMode GeneCounts, featureCounts."""
OF_CELLS_IN_ROWS = _words(
    """
    cluster clusters clusterid batch donor donorid patient patientid sampleid celltype celltypes tumor tumour malignant
    """
)
"""Annotations of cells in a line of their own, above the genes; no gene is called so."""
FEATURE_TABLE = _words(
    """
    length chr chrom chromosome start end strand geneid geneids genename genenames genesymbol genesymbols genelength
    genelen genebiotype efflength effectivelength exonlength exoniclength transcriptlength gccontent
    """
)
"""What featureCounts and others write beside the counts of each gene; no gene is called so."""
OF_GENES = (
    TOTALS
    | FEATURE_TABLE
    | _words(
        """
    chromosomename meanlength medianlength width percentgc gcpercent gcpct txlen txlength transcriptlen len genesize
    entrez entrezid entrezgene entrezgeneid ncbigeneid ncbiid exoncount nexon nexons numexons biotype
    genetype description ncell ncells ncellsbycounts numcells numberofcells nsamples cellcount meancounts
    pctdropoutbycounts dropout dropoutrate log1pmeancounts meanexpression basemean pval pvalue pvalues padj qval qvalue
    fdr logfc log2fc log2foldchange lfcse avglogfc avglog2fc adjpval pvaladj variance variances dispersion dispersions
    dispersionsnorm highlyvariable highlyvariablerank vst stddev
    """
    )
)
"""Annotations of genes, of which some are numbers."""
OF_GENES_AMONG_CELLS = LONE_TOTALS | _words("gc exons exon rank stat score max min sd std var size tpm fpkm rpkm")
"""Such as some genes or counts are called."""
OF_CELLS = (
    TOTALS
    | MEASURES
    | _words(
        """
    cluster clusters clustering batch donor donorid patient patientid sample sampleid sampletag plate plateid
    lane library libraryid replicate age sex cellontologyclass tissue label labels phase umap1 umap2 tsne1 tsne2 pc1 pc2
    condition treatment timepoint group subject subjectid individual development developmentstage stage
    """
    )
)
"""Annotations of cells, of which some are numbers."""
OF_CELLS_AMONG_GENES = LONE_TOTALS | _words("class type status day time score passage gender")
"""Such as some genes or counts are called."""
UNNAMED = re.compile(r"Unnamed:[ _.]?\d+(_level_\d+)?")
"""What pandas calls a column without a name, as that of the numbers of lines is."""
COORDINATES = ({"x", "y"}, {"row", "col"}, {"arrayrow", "arraycol"}, {"xcoord", "ycoord"}, {"pxlrow", "pxlcol"})
"""Places of spots and cells, which come together."""
SUMMARIES = TOTALS | LONE_TOTALS | MEASURES | OF_READS
"""What is counted or measured beside genes, and no gene is called."""


def is_measure(name: str) -> bool:
    """Return whether a name is that of a measure of cells, as programs write it."""
    return plain(name) in MEASURES or MEASURE.fullmatch(name) is not None


def is_summary(name: str) -> bool:
    """Return whether a name is that of a total, a measure or a number of lines, and of no gene."""
    return plain(name) in SUMMARIES or MEASURE.fullmatch(name) is not None or UNNAMED.fullmatch(name) is not None


GENE_EXPRESSION = "Gene Expression"
"""What 10x calls the type of a gene."""
TYPE_COLUMNS = frozenset(
    {"featuretype", "featuretypes", "featureclass", "featurebiotype", "modality", "modalities", "mod", "mods", "assay"}
    | {
        "assays",
        "library",
        "librarytype",
        "librarytypes",
        "datatype",
        "omic",
        "omics",
        "type",
        "types",
        "kind",
        "class",
    }
)
"""Columns that may hold types of features, by their names without case and marks."""
GENE_TYPES = frozenset(
    {
        "gene expression",
        "gene",
        "genes",
        "gex",
        "rna",
        "mrna",
        "expression",
        "transcript",
        "transcripts",
        "transcriptome",
    }
)
OTHER_TYPES = frozenset(
    {"antibody capture", "antigen capture", "antibody", "antibodies", "antibody derived tag", "antibody derived tags"}
    | {"ab", "abs", "abseq", "adt", "adts", "protein", "proteins", "prot", "protein expression", "surface protein"}
    | {"surface proteins", "cell surface protein", "cite", "cite seq", "citeseq", "isotype control"}
    | {"hto", "htos", "hashtag", "hashtags", "hashtag oligo", "hashing", "cell hashing", "sample tag", "sample tags"}
    | {"multiplexing capture", "multiplexing", "multiplexing barcode", "cell multiplexing", "cmo", "cmos", "lmo"}
    | {"crispr guide capture", "crispr", "crispr guide", "guide capture", "guide", "guides", "grna", "sgrna"}
    | {"guide rna", "perturbation", "custom", "peak", "peaks", "atac", "chromatin accessibility", "accessibility"}
    | {"vdj", "vdj t", "vdj b", "tcr", "bcr"}
    | {"negative control", "negative control probe", "negative control codeword", "negative probe", "control probe"}
    | {"unassigned codeword", "deprecated codeword", "blank codeword", "genomic control"}
    | {"motif", "motifs", "genotype", "genotypes", "spike in", "spike ins", "spikein", "spikeins", "ercc"}
)
"""Types of features that are no genes, in lower case, with a blank for every mark."""
NO_TYPE = frozenset({"", "nan", "na", "n a", "none", "unknown"})
"""What says nothing against a gene."""
SPIKE_INS = re.compile(r"ERCC[-_.]\d{5}", re.IGNORECASE)
"""RNA that was added to every cell: its counts are no part of the cell's library."""
WITH_CODES = re.compile(r"[A-Za-z][^()]*\(\d ?=.*\)")
"""A row that says what its numbers stand for, as ``malignant(1=no,2=yes,0=unresolved)``."""
UNASSIGNED = re.compile(r"Unassigned[_.-][A-Za-z_.-]+")
AS_R_WRITES_IT = re.compile(r"^(X?__|X\.\.)")
"""What stands before the names of HTSeq, and what R makes of it."""
TAGS = re.compile(r".+[|._-][ps]tAbO|.+[|._-]pAbO|.*totalseq.*", re.IGNORECASE)
"""Proteins and sample tags as BD Rhapsody (``|pAbO``, ``|stAbO``) and TotalSeq name them."""
LIKELY_TAGS = re.compile(
    r"(ADT|adt|AB|HTO|hto|PROT|prot|CITE|cite)[_:][A-Za-z].*|.+[_-](ADT|PROT|HTO)|ADT-[A-Z].*|HTO[-_]?(\d+|[A-Z])"
    r"|(?i:hashtag)[-_ ]?\w*(-[ACGT]{8,})?"
    r"|.*(?i:anti)[-_ ](?i:human|mouse|rat)(?![A-Za-z]).*|(?i:anti)[-_ ](?i:CD\d|HLA|Ig).*"
    r"|.*(?i:isotype)[-_. ]?(?i:ctrl|control).*|.+[-_][ACGT]{15}"
)
LIKELY_SHARE = 0.9
"""Where a larger share of features is named so, this is how genes are named there."""
UNMARKED = ("NegPrb", "SystemControl", "HTO", "Hashtag", "hashtag")
"""Beginnings of names without a mark that may be none of genes."""
CONTROLS = re.compile(
    r"NegControl(Probe|Codeword)_\w+|(Unassigned|Deprecated)Codeword_\d+|BLANK_\d+|Blank-\d+|NegPrb\d+|SystemControl\d+"
)
"""Probes of spatial panels that no gene has."""
PEAKS = re.compile(r"(chr)?([0-9]{1,2}|[XYM]|MT)[:_-]\d{3,}[_-]\d{3,}")
_SUMMARY, _ANNOTATION, _OF_CELLS, _TAG, _CONTROL, _PEAK, _SPIKE_IN = BY_NAME = (
    *("summary values", "annotations of genes", "annotations of cells", "proteins or sample tags", "control probes"),
    *("peaks", "spike-ins"),
)


def kinds_of(var: pd.DataFrame) -> np.ndarray:
    """Find out what each feature is that is no gene.

    Parameters
    ----------
    var
        What is known of the features; the index holds their names.

    Returns
    -------
    np.ndarray
        In words, None for genes; object, shape (number of features,).
    """
    kinds = _kinds_by_name([str(name) for name in var.index])
    for name, column in var.items():
        for k, type_ in enumerate(_types_in(column, str(name))):
            kinds[k] = kinds[k] if type_ is None else type_
    return kinds


def genes_among(features: pd.DataFrame, path: Location) -> tuple[np.ndarray, str | None]:
    """Return which features are genes, and what is to be said of the others.

    Returns
    -------
    np.ndarray
        bool, shape (number of features,).
    str or None
        None if all are genes.

    Raises
    ------
    DataError
        If none is.
    """
    kinds = kinds_of(features)
    is_gene_F = np.array([kind is None for kind in kinds], bool)
    if is_gene_F.all():
        return is_gene_F, None
    if not is_gene_F.any():
        raise DataError(
            f"none of its features is of the type {GENE_EXPRESSION}: they are {examples(dict.fromkeys(kinds))}",
            where=path,
            way_out="give the output of a gene expression library",
        )
    names = list(map(str, features.index))
    return is_gene_F, f"features that are no genes are left out: {kinds_in_words(kinds, names)}"


def kinds_in_words(kinds: np.ndarray, names: Sequence[str]) -> str:
    """Return how many features there are of each kind, with an example where their names have shown it."""
    first: dict[str, str] = {}
    for kind, name in zip(kinds, names, strict=True):
        first.setdefault(kind, name)
    times = Counter(kind for kind in kinds if kind is not None)
    return ", ".join(
        f"{count:,} {kind} such as {first[kind]!r}" if kind in BY_NAME else f"{count:,} of {kind}"
        for kind, count in times.items()
    )


def _kinds_by_name(names: Sequence[str]) -> np.ndarray:
    kinds = np.full(len(names), None, dtype=object)
    marked = [k for k, name in enumerate(names) if not name.isalnum() or name.startswith(UNMARKED)]
    for k, name in enumerate(names):
        if is_summary(name) or plain(name) in FEATURE_TABLE:
            kinds[k] = _SUMMARY if is_summary(name) else _ANNOTATION
        elif plain(name) in OF_CELLS_IN_ROWS or WITH_CODES.fullmatch(name):
            kinds[k] = _OF_CELLS
    for k in marked:
        kinds[k] = kinds[k] or _kind_of(names[k])
    for kind, pattern in ((_TAG, LIKELY_TAGS), (_PEAK, PEAKS)):
        likely = [k for k in marked if kinds[k] is None and pattern.fullmatch(names[k])]
        if len(likely) <= LIKELY_SHARE * len(names):
            kinds[likely] = kind
    if all(kind == _TAG for kind in kinds):
        kinds[:] = None
    return kinds


def _kind_of(name: str) -> str | None:
    if plain(AS_R_WRITES_IT.sub("", name)) in OF_READS or UNASSIGNED.fullmatch(name):
        return _SUMMARY
    if TAGS.fullmatch(name):
        return _TAG
    if SPIKE_INS.fullmatch(name):
        return _SPIKE_IN
    return _CONTROL if CONTROLS.fullmatch(name) else None


def _types_in(column: pd.Series, name: str) -> list[str | None]:
    """Return the types that a column holds, None for genes; nothing at all if it holds no types of features.

    Where 10x's name for genes stands in it, all others are none, as 10x means it. A feature without a type is a gene.
    """
    values = column.astype(object)
    if infer_dtype(values, skipna=True) != "string":
        return []
    types = {value: _MARKS.sub(" ", value.casefold()).strip() for value in values.dropna().unique()}
    is_10x = GENE_EXPRESSION in types
    if not is_10x and (plain(name) not in TYPE_COLUMNS or not _are_types({*types.values()})):
        return []
    others = {value for value, type_ in types.items() if type_ not in GENE_TYPES | NO_TYPE}
    if not is_10x:
        others = {value for value in others if types[value] in OTHER_TYPES}
    return [value if isinstance(value, str) and value in others else None for value in values]


def _are_types(values: set[str]) -> bool:
    """Whether values are types of features, and not of genes, as protein_coding is."""
    return bool(values & GENE_TYPES) or (bool(values & OTHER_TYPES) and values <= OTHER_TYPES | NO_TYPE)
