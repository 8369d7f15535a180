   
	FROM	alpine   
  run    echo   spaces   inside  
	RUN	echo\
	tabs
RUN echo one \   
    two	\	
	three
ENV   a=1    b=2   
ENV c    value with   spaces   
LABEL	x=y	z=w
CMD	[	"a"	,	"b"	]	
EXPOSE   80	443   
VOLUME	/a  /b
