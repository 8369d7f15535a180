/* Print the addresses that getaddrinfo(3) finds for a name, one a line. */

#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>

int main(int argc, char **argv)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found, *one;
	char text[64];

	if (argc != 2 || getaddrinfo(argv[1], NULL, &hints, &found))
		return 2;
	for (one = found; one; one = one->ai_next)
		if (!getnameinfo(one->ai_addr, one->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST))
			puts(text);
	return 0;
}
