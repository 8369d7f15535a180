FROM hashicorp/terraform:1.8 AS terraform
FROM amazon/aws-cli:2.16.0
COPY --from=terraform /bin/terraform /usr/local/bin/
ARG USERNAME=operator
RUN useradd -m ${USERNAME}
USER ${USERNAME}
WORKDIR /home/${USERNAME}
ENTRYPOINT [""]
CMD ["bash"]
