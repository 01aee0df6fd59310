"""What columns and rows beside counts are called: totals, measures of cells and of genes, annotations of both.

Names are compared whole, without case and marks. Words that some species has a gene of, such as ``GC`` of human and
``y`` of fly, count only where all other names are plainly not genes, or plainly genes.
"""

import re

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
