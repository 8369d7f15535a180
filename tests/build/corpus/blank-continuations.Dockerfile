FROM debian
RUN apt-get update && apt-get install -y \

    curl \

    # and this

    wget \
    
    git

ENV A=1 \
    # between

    B=2
