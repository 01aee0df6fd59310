"""What genes and cells are called: the schemes of databases and the habits of programs.

Only names that can hardly be anything else count. The schemes of genes are those of Ensembl, NCBI, the databases of
model organisms and their kin, as https://identifiers.org lists them.
"""

import re


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


GENE = re.compile(
    r"""
    # whatever the scheme: with the genome before it, or another name of the same gene behind it
    (hg|mm|rn|dm|danRer|galGal|susScr|GRC[a-z]|mRatBN|HUMAN|MOUSE|RAT)[\d.]*_+\S.*
    | (?P<twin>[^|]+)\|(?P=twin) | (ENS[A-Z]*G\d{6,}|[A-Z][A-Z0-9-]+)(\.\d+)?[|;:_]+ENS[A-Z]*G\d{6,}.* | .+__chr[\dXYM]+
    | ERCC-\d{5} | __(no_feature|ambiguous|too_low_aQual|not_aligned|alignment_not_unique)
    | N_(unmapped|multimapping|noFeature|ambiguous)
    | (?i:(gene|feature|transcript|probe|orf|mstrg|xloc|tcons|isoform)s?[\ _.:-]?\d+.*) | g\d+(\.t?\d+)?
    | TRINITY_\w+
    # vertebrates
    | ENS[A-Z]{0,12}(_[A-Za-z]+_)?[GT]\d{6,}(\.\d+)?(_PAR_Y)?([_|.-].+)?   # Ensembl; version; symbol behind it
    | MGP_\w+_[GT]\d+ | (HGNC|MGI|RGD|ZDB-GENE|Xenbase|XB-GENE|NCBIGene)[:-]\d[\d-]* | [NX][MR]_\d{6,}(\.\d+)?
    | LOC\d{6,} | (AABR|BX|CABZ|CU|CR|AL|FP|CT)\d{6,}\.\d+ | XELAEV_\w+ | Xelaev\d+m | AMEX60DDU?\d+
    | (si|zgc|wu|im|zmp|id):.+ | \w+\.(L|S)
    | (MT|mt|Mt)-[A-Za-z]{2,5}\d{0,2}[A-Za-z]?              # mitochondrial: MT-CO1, mt-Nd4l
    | (M?RP[LS]|M?rp[ls]|M?Rp[ls]|mt:.+|Rp[LS])\d{1,2}[AXYLaxyl]?\d?       # ribosomal: RPL13A, Mrps18, RpL32
    | (CCL|CXCL|CCR|CXCR|XCL|CX3CR|WNT|SOX|KRT|FGF|BMP|PAX|GATA|STAT|SMAD|TLR|IRF|IFIT|CASP|CYP|MMP|KCN[A-Z]|GPR|ITG[AB]
        |TNFSF|TNFRSF|HOX[A-D]|NKX|LHX|FOX[A-Z]|ZNF|CDK|CCN[A-Z]|DUSP|RAB|MYH|SERPIN[A-Z]|S100A|VMN[12]R|TAS[12]R|KLR[A-K])
        \d+[A-Z]{0,2}\d{0,2}(-\d)?
    | (Ccl|Cxcl|Ccr|Cxcr|Xcl|Cx3cr|Cx3cl|Wnt|Sox|Krt|Fgf|Bmp|Pax|Gata|Stat|Smad|Tlr|Irf|Ifit|Casp|Cyp|Mmp|Kcn[a-z]|Gpr
        |Itg[ab]|Tnfsf|Tnfrsf|Hox[a-d]|Nkx|Lhx|Fox[a-z]|Cdk|Ccn[a-z]|Dusp|Rab|Myh|Serpin[a-z]|S100a|Vmn[12]r|Tas[12]r
        |Klr[a-k])\d+[a-z]{0,2}\d{0,2}(-\d)?
    | (MIR|LINC|Mir)\d{2,}(-?\d|[A-Z]|HG|-2HG)? | [A-Z0-9]+-AS\d
    | [a-z]{3}-(mir|miR|let|lin)-.+
    | A[CLPF]\d{6}\.\d+ | (RP|CT)[A-Z]?\d{1,4}-\d+[A-Z]\d+\.\d+            # clones
    | Gm\d{3,} | [0-9A-F]\d{6}[A-Z]\d{2}Rik                 # mouse models
    | (ZNF|FAM|TMEM|SLC|KIF|ADAM|PCDH|OR)\d+[A-Z]?\d*P?\d*
    | (Zfp|Znf|Fam|Tmem|Slc|Kif|Adam|Pcdh|Olfr)\d+[a-z]?\d* | (znf|fam|tmem|slc|kif|adam|pcdh)\d+[a-z]?\d*[a-z]{0,2}
    | HLA-[A-Z]{1,3}\d? | H2-[A-Z][a-z0-9]{1,2} | IG[HKL][VC]\d*.* | TR[ABDG][VC]\d*.*
    | ABC[A-G]\d{1,2} | Abc[a-g]\d{1,2} | COL\d+A\d+ | (Col|col)\d+a\d+[ab]? | ATP\d+[A-Z]\d? | (Atp|atp)\d+[a-z]\d?
    | ACTB | GAPDH | B2M | MALAT1 | NEAT1 | XIST | EEF1A1 | TMSB4X | TMSB10 | FTL | FTH1 | VIM | PTPRC | UBC | TPT1
    | A1BG | A1CF | A2M | AAAS | NOC2L | KLHL17 | PLEKHN1 | ISG15 | SAMD11 | AGRN | TP53 | CD3E | CD8A | MS4A1 | NKG7
    | LYZ | Actb | Gapdh | B2m | Malat1 | Neat1 | Xist | Eef1a1 | Tmsb4x | Tmsb10 | Ftl1 | Fth1 | Vim | Ptprc | Ubc
    | Tpt1 | Xkr4 | Sox17 | Lypla1 | Tcea1 | Trp53 | Cd3e | Cd8a | Ms4a1 | Nkg7 | Lyz2 | Aaas | A1bg
    | actb[12]? | gapdh | eef1a1\w* | ptprc | sox17
    # other animals
    | FB(gn|tr)\d{7} | C[GR]\d{4,5} | \S+\{\}\d+ | (t|sno|sn|as|lnc|mt)RNA:\S+                # fly
    | WBGene\d{8} | [A-Z]{1,4}\d+[A-Z]{1,2}\d*\.\d+[a-z]? | [a-z]{3,4}-\d+(\.\d+)? | 21ur-\d+   # worm
    | (AGAP|AAEL|CPIJ|ISCW|GB|XP_|NV2g|KH\.[CLS]|SPU_|SMESG|dd_Smed|HVAEP|Smp_)\d+\S*
    # fungi, plants, protists, bacteria
    | Y[A-P][LR]\d{3}[CW](-[A-Z])? | SP[ABC][A-Z]*\d+[A-Z]?\d*\.\d+c? | C[1-7R]_\d{5}[CW]_[AB] | orf19\.\d+
    | (CNAG|NCU|AN|FGSG|MGG|UMAG)_?\d{4,5} | S00\d{7}
    | ([A-Z]+_)?[A-Z][A-Za-z]{0,8}[._]?\d{0,3}[CM]?[gG]\d{5,}(\.\d+)*(\.v[\d.]+)?    # AT1G01010, LOC_Os01g01010, Solyc
    | Os\d{2}t\d{7}\S* | GRMZM\w+ | Zm\d{5}[a-z]{1,2}\d{6}\S* | TraesCS\w+ | HORVU\S+ | VIT_\w+ | Bra\d{6} | BnaA?\w+D
    | Pp3c\d+_\d+\S* | Mapoly\d+s\d+\S* | Cre\d{2}\.g\d{6}\S*
    | [A-Z][A-Za-z0-9]{2,9}_\d{6,8}([.-]\S+)? | Tb(927|\d{2})\.\S+ | L[a-z]{2,4}\.?\d+\.\d{4} | DDB_G\d{7}
    | b\d{4} | (JW|ECK|PA|STM|VC|HP)\d{4} | (BSU|BSU_|SAOUHSC_|SA|SP_|SPD_|MSMEG_)\d{4,5}
    | Rv\d{4}[cA]? | \w{2,12}_RS\d{5}
    """,
    re.VERBOSE,
)
CELL = re.compile(
    r"""
    (.*[^A-Za-z])?[ACGTN]{8,}x?([^A-Za-z].*)?               # a barcode, a sample before it or behind it: AAACCTGAGAAG-1
    | (.*[^A-Za-z])?([ACGTN]{4,}[-_.+]){1,3}[ACGTN]{4,}([^A-Za-z].*)?      # one in parts: inDrop, split pools
    | \d{1,3}(_\d{1,3}){2,3}(__s\d+)?                       # numbers of wells: Parse
    | (.*[^A-Za-z0-9])?(GSM|[SED]RR|[SED]RX|[SED]RS|SAM(N|EA|D))\d{4,}([^0-9].*)?     # accessions of GEO and SRA
    | (.*[^A-Za-z0-9])?[A-P](0[1-9]|1\d|2[0-4])([^A-Za-z0-9].*)?           # wells: P1_A01, X1000010011.A01
    | (.*[^A-Za-z0-9])?([Pp](late)?)\d+[_.-]?[A-P]\d{1,2}([^A-Za-z0-9].*)?
    | (?i:(.*[^A-Za-z])?(cell|metacell|barcode|droplet|bead|well|spot|nucleus|sample|plate|donor|patient)s?
      [\ _.:\#-]?\d+.*)
    | (?i:bc[_-]?\d{1,4}) | [csS]\d+ | [A-H]([1-9]|1[0-2]) | .*\.(bam|sam|cram|fastq|fq)(\.gz)?
    """,
    re.VERBOSE,
)
GENE_ID = re.compile(
    r"ENS[A-Z]{0,12}(_[A-Za-z]+_)?[GT]\d{6,}(\.\d+)?(_PAR_Y)?|FB(gn|tr)\d{7}|WBGene\d{8}|AT[1-5MC]G\d{5}"
)
"""Ids of databases, among which another name stands out."""
SYMBOL = re.compile(r"[A-Z][A-Z0-9]*[A-Z0-9-]*[A-Z0-9]|[A-Z][a-z]+\d+[a-z]?\d*")
"""What a symbol of human or mouse may look like, but for words."""
TRANSGENE = re.compile(
    r"[\w.-]*([GRYCB]FP|tomato|cherry|venus|luciferase|lacz|wpre|rtta|\btta|cas9|neo|puro)[\w.-]*|cre(er\w*)?|i?cre",
    re.IGNORECASE,
)
"""Reporters and the like, which are counted as genes are."""
NO_STEMS = re.compile(
    r"(.*[^a-z])?(cd|hla|il|mir|loc|ens[a-z]*|orf|mstrg|xloc|tcons|contig|scaffold|comp|peak|bin|region|prot|protein|tag|v"
    r"|var|col|column|row)[^a-z]*",
    re.IGNORECASE,
)
"""What stands before the number of names that are not those of numbered cells."""
NAMES_GENES = re.compile(
    r"gene(?!ra)|symbol|feature|ensembl|^ensg|entrez|transcript|probe|hgnc|locus|refseq|isoform|trackingid|targetid|idref"
)
NAMES_CELLS = re.compile(r"cell|barcode|^wells?$|^wellid|^spot|droplet|^nucle|^cb$|^sample")
NAMES_IDS = _words(
    """
    id ids index name names x v1 unnamed0 row rows rowname rownames
    """
)
LONE_MEASURES = _words(
    """
    count counts umi umis umicount numreads reads expression value estcounts expectedcount tpm fpkm rpkm length
    efflength effectivelength isopct coverage cpm rawcount rawcounts fragments
    """
)
"""What columns are called in a list of one sample's genes, or with a line per gene and cell."""
