# escape=`
FROM mcr.microsoft.com/windows/nanoserver
COPY . C:\app\
WORKDIR C:\app
RUN dir `
    /s
