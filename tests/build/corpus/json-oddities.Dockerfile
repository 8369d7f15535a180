FROM alpine
CMD ['single', 'quotes']
CMD ["unclosed", "list"
CMD ["trailing", "comma",]
CMD ["a", "b"] and more
CMD [ "escapes \" \\ \/ \b \f \n \r \t é 😀" ]
CMD []
CMD [""]
RUN [ -d /x ] || mkdir /x
RUN [[ -d /x ]] && true
ENTRYPOINT [ "sh", \
  "-c", \
  # a comment in the list
  "echo" ]
