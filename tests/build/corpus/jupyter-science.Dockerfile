FROM quay.io/jupyter/scipy-notebook:2024-05-27
USER root
RUN apt-get update --yes && \
    apt-get install --yes --no-install-recommends \
      graphviz \
      # for exporting notebooks
      texlive-xetex \
      texlive-fonts-recommended && \
    apt-get clean && rm -rf /var/lib/apt/lists/*
USER ${NB_UID}
RUN mamba install --yes 'polars' 'duckdb>=1.0' && \
    mamba clean --all -f -y && \
    fix-permissions "${CONDA_DIR}" && \
    fix-permissions "/home/${NB_USER}"
WORKDIR "${HOME}"
