/*
 * hosts.c: parsing and looking up addresses.
 */
#include "shared/hosts.h"

#include <sys/un.h>

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#define HOSTS_NAME_MAX	255	/* bytes that a name in the DNS may have */

/* An address cut in two. */
struct hosts_parts {
	char		 host[HOSTS_NAME_MAX + 1];
	in_port_t	 port;		/* network order */
	bool		 is_bracketed;
};

static bool
hosts_parse_port(const char *s, in_port_t *port)
{
	unsigned long n = 0;

	if (*s == '\0' || *s == '0')
		return false;
	for (; *s != '\0'; s++) {
		if (*s < '0' || *s > '9')
			return false;
		n = n * 10 + (unsigned long)(*s - '0');
		if (n > 65535)
			return false;
	}
	*port = htons((uint16_t)n);
	return true;
}

static bool
hosts_split(const char *text, struct hosts_parts *parts, const char **why)
{
	const char *end, *colon;
	size_t len;

	parts->is_bracketed = *text == '[';
	if (parts->is_bracketed) {
		end = strchr(++text, ']');
		colon = end != NULL && end[1] == ':' ? end + 1 : NULL;
	} else {
		end = colon = strrchr(text, ':');
		if (colon != NULL && strchr(text, ':') != colon) {
			*why = "an IPv6 address must stand in brackets";
			return false;
		}
	}
	if (colon == NULL) {
		*why = "no port: address:port or a path is wanted";
		return false;
	}
	len = (size_t)(end - text);
	if (len == 0 || len > HOSTS_NAME_MAX) {
		*why = len == 0 ? "no host before the port" : "too long a name";
		return false;
	}
	memcpy(parts->host, text, len);
	parts->host[len] = '\0';
	if (!hosts_parse_port(colon + 1, &parts->port)) {
		*why = "the port must be a number from 1 to 65535";
		return false;
	}
	return true;
}

static enum hosts_form
hosts_parse_unix(const char *text, struct sockaddr_storage *sa,
    socklen_t *sa_len, const char **why)
{
	struct sockaddr_un *un = (struct sockaddr_un *)(void *)sa;
	size_t len = strlen(text);

	if (len >= sizeof(un->sun_path)) {
		*why = "too long a path for a unix socket (107 bytes at most)";
		return HOSTS_BAD;
	}
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, text, len + 1);
	*sa_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1);
	return HOSTS_UNIX;
}

/* getaddrinfo, unlike inet_pton, knows the scope in fe80::1%eth0; numbers are
 * never looked up. */
static enum hosts_form
hosts_parse_ipv6(const struct hosts_parts *parts, struct sockaddr_storage *sa,
    socklen_t *sa_len, const char **why)
{
	const struct addrinfo hints = {
		.ai_family = AF_INET6,
		.ai_socktype = SOCK_STREAM,
		.ai_flags = AI_NUMERICHOST,
	};
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)sa;
	struct addrinfo *res;

	if (getaddrinfo(parts->host, NULL, &hints, &res) != 0) {
		*why = "no IPv6 address between the brackets";
		return HOSTS_BAD;
	}
	memcpy(in6, res->ai_addr, sizeof(*in6));
	freeaddrinfo(res);
	in6->sin6_port = parts->port;
	*sa_len = sizeof(*in6);
	return HOSTS_NUMERIC;
}

static enum hosts_form
hosts_parse_ipv4_or_name(const struct hosts_parts *parts,
    struct sockaddr_storage *sa, socklen_t *sa_len, const char **why)
{
	struct sockaddr_in *in = (struct sockaddr_in *)(void *)sa;
	const char *host = parts->host;

	in->sin_family = AF_INET;
	in->sin_port = parts->port;
	*sa_len = sizeof(*in);
	if (inet_pton(AF_INET, host, &in->sin_addr) == 1)
		return HOSTS_NUMERIC;
	/* The resolver would read 127.1 or 0300.1 as addresses. */
	if (host[strspn(host, "0123456789.")] == '\0') {
		*why = "no IPv4 address before the port";
		return HOSTS_BAD;
	}
	for (const char *p = host; *p != '\0'; p++) {
		if (isalnum((unsigned char)*p) || *p == '.' || *p == '_')
			continue;
		if (*p == '-' && p != host)
			continue;
		*why = "a host's name has letters, digits, '.', '-' and '_'";
		return HOSTS_BAD;
	}
	return HOSTS_NAME;
}

enum hosts_form
hosts_parse(const char *text, struct sockaddr_storage *sa, socklen_t *sa_len,
    const char **why)
{
	struct hosts_parts parts;

	memset(sa, 0, sizeof(*sa));
	if (*text == '/')
		return hosts_parse_unix(text, sa, sa_len, why);
	if (!hosts_split(text, &parts, why))
		return HOSTS_BAD;
	if (parts.is_bracketed)
		return hosts_parse_ipv6(&parts, sa, sa_len, why);
	return hosts_parse_ipv4_or_name(&parts, sa, sa_len, why);
}

static void
hosts_set_port(struct sockaddr_storage *sa, in_port_t port)
{
	if (sa->ss_family == AF_INET6)
		((struct sockaddr_in6 *)(void *)sa)->sin6_port = port;
	else
		((struct sockaddr_in *)(void *)sa)->sin_port = port;
}

static bool
hosts_look_up(const char *text, struct sockaddr_storage *sa, socklen_t *sa_len,
    const char **why)
{
	const struct addrinfo hints = {
		.ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM,
	};
	struct hosts_parts parts;
	struct addrinfo *res, *found;
	int rc;

	if (!hosts_split(text, &parts, why))
		return false;
	rc = getaddrinfo(parts.host, NULL, &hints, &res);
	if (rc != 0) {
		*why = rc == EAI_SYSTEM ? strerror(errno) : gai_strerror(rc);
		return false;
	}
	for (found = res; found != NULL; found = found->ai_next)
		if (found->ai_family == AF_INET)
			break;
	if (found == NULL)
		found = res;
	memset(sa, 0, sizeof(*sa));
	memcpy(sa, found->ai_addr, found->ai_addrlen);
	*sa_len = found->ai_addrlen;
	hosts_set_port(sa, parts.port);
	freeaddrinfo(res);
	return true;
}

bool
hosts_resolve(const char *text, struct sockaddr_storage *sa, socklen_t *sa_len,
    const char **why)
{
	switch (hosts_parse(text, sa, sa_len, why)) {
	case HOSTS_BAD:
		return false;
	case HOSTS_NAME:
		return hosts_look_up(text, sa, sa_len, why);
	case HOSTS_NUMERIC:
	case HOSTS_UNIX:
		break;
	}
	return true;
}

void
hosts_normalize(const char *text, char dst[HOSTS_NORMAL_MAX])
{
	struct sockaddr_storage sa;
	const struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)&sa;
	char ip[INET6_ADDRSTRLEN];
	socklen_t sa_len;
	const char *why;

	/* Only IPv6 has several ways to write a number. */
	if (*text == '[' &&
	    hosts_parse(text, &sa, &sa_len, &why) == HOSTS_NUMERIC) {
		inet_ntop(AF_INET6, &in6->sin6_addr, ip, sizeof(ip));
		snprintf(dst, HOSTS_NORMAL_MAX, "[%s%%%u]:%u", ip,
		    in6->sin6_scope_id, ntohs(in6->sin6_port));
		return;
	}
	snprintf(dst, HOSTS_NORMAL_MAX, "%s", text);
	for (char *p = dst; *text != '/' && *p != '\0'; p++)
		*p = (char)tolower((unsigned char)*p);
}
