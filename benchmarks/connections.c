// Short TCP connections, as many as one client makes after each other: `serve PORT` says one byte to
// whoever connects and hangs up; `connect ADDRESS PORT SECONDS` prints how many it had a second.
// The server ends each, so that no port of the client's stays in TIME_WAIT.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static struct sockaddr_in address_of(const char *text, const char *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
    if (inet_pton(AF_INET, text, &address.sin_addr) != 1)
        errx(1, "%s is no address", text);
    return address;
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static int serve(const char *port)
{
    struct sockaddr_in address = address_of("0.0.0.0", port);
    int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    signal(SIGPIPE, SIG_IGN);
    if (bind(listening, (struct sockaddr *)&address, sizeof address) || listen(listening, 1024))
        err(1, "listen");
    for (;;) {
        int connection = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
        if (connection < 0)
            continue;
        if (write(connection, "x", 1) != 1)
            warn("write");
        close(connection);
    }
}

static int connect_over_and_over(const char *text, const char *port, double seconds)
{
    struct sockaddr_in address = address_of(text, port);
    struct timeval patience = {.tv_sec = 3};
    double start = now(), end;
    long done = 0;
    do {
        char said[2];
        int connection = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        setsockopt(connection, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
        if (connect(connection, (struct sockaddr *)&address, sizeof address))
            err(1, "connect, after %ld connections", done);
        if (read(connection, said, 1) != 1 || read(connection, said, 1) != 0)
            err(1, "read, after %ld connections", done);
        close(connection);
        done++;
        end = now();
    } while (end - start < seconds);
    printf("%.1f\n", done / (end - start));
    return 0;
}

int main(int count, char **words)
{
    if (count == 3 && strcmp(words[1], "serve") == 0)
        return serve(words[2]);
    if (count == 5 && strcmp(words[1], "connect") == 0)
        return connect_over_and_over(words[2], words[3], atof(words[4]));
    errx(2, "usage: serve PORT | connect ADDRESS PORT SECONDS");
}
