FROM alpine
ENV a="it's" b='say "x"' c=it\'s d="a\"b" e='a\b' f="a\nb"
ENV g=  h=""  i=''
ENV j k=l m
LABEL "a b"=c 'd e'=f g="h
LABEL h" i=j
RUN echo "it's" && echo 'say "x"' && echo \"
