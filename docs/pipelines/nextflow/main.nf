// A module in the style of nf-core: one sample in, its labels out. See docs/pipelines.md.
process SCNYM_PREDICT {
    tag "$meta.id"
    label 'process_medium'

    conda "${moduleDir}/environment.yml"

    input:
    tuple val(meta), path(counts)
    path model

    output:
    tuple val(meta), path("${prefix}/predictions/predictions.csv"), emit: predictions
    tuple val(meta), path("${prefix}/predictions/summary.json")   , emit: summary
    tuple val(meta), path("${prefix}/predictions/predictions.h5ad"), emit: h5ad, optional: true
    path "versions.yml"                                            , emit: versions

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    prefix = task.ext.prefix ?: "${meta.id}"
    """
    export OMP_NUM_THREADS=$task.cpus NUMBA_CACHE_DIR=\$PWD/.numba MPLCONFIGDIR=\$PWD/.matplotlib
    scnym predict_cell_types \\
        --input_counts $counts \\
        --model_path $model \\
        --out_path $prefix \\
        $args

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        scnym: \$(scnym --version | sed 's/scnym //')
    END_VERSIONS
    """

    stub:
    prefix = task.ext.prefix ?: "${meta.id}"
    """
    mkdir -p $prefix/predictions
    touch $prefix/predictions/predictions.csv $prefix/predictions/summary.json

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        scnym: \$(scnym --version | sed 's/scnym //')
    END_VERSIONS
    """
}
