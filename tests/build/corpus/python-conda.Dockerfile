FROM continuumio/miniconda3
SHELL ["/bin/bash", "--login", "-c"]
COPY environment.yml /tmp/environment.yml
RUN conda env create -f /tmp/environment.yml && conda clean -afy
RUN echo "conda activate work" >> ~/.bashrc
ENTRYPOINT ["conda", "run", "--no-capture-output", "-n", "work"]
CMD python train.py
