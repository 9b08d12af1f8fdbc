#include "master/options.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "shared/config.h"

static const char options_usage[] =
    "usage: kvproxy [-d] [-c FILE] [-t] [-p] [-h] [-v]\n"
    "       kvproxy route KEY [-c FILE] [-s SECTION]\n"
    "       kvproxy status [--json] [-c FILE]\n";

static void
options_help(void)
{
	printf("%s\n"
	    "A proxy that spreads the keys of its clients over many "
	    "servers.\n\n"
	    "  -d       go into the background once the workers serve\n"
	    "  -c FILE  the configuration; default: etc/kvproxy.ini of the\n"
	    "           installation\n"
	    "  -t       check the configuration, say what it means, and exit\n"
	    "  -p       print where the pid file, the log and the extensions\n"
	    "           are, whatever is wrong in the configuration, and exit\n"
	    "  -h       this text\n"
	    "  -v       the version\n\n"
	    "  route    say where commands for KEY go, and why; -s: of one\n"
	    "           service alone\n"
	    "  status   say what the one that runs is doing, also where its\n"
	    "           workers hang; --json: everything, for a program\n\n",
	    options_usage);
	config_usage(stdout);
}

/* False, when it has been said, where an argument is left at I. */
static bool
options_is_end(int argc, char **argv, int i)
{
	if (i < argc)
		fprintf(stderr, "kvproxy: unexpected argument \"%s\"\n",
		    argv[i]);
	return i >= argc;
}

/* What follows the word "route".  False: it is not as it should be. */
static bool
options_parse_route(struct options *o, int argc, char **argv)
{
	int c;

	o->task = OPTIONS_ROUTE;
	while ((c = getopt(argc, argv, "c:s:")) != -1) {
		if (c == 'c')
			o->config_path = optarg;
		else if (c == 's')
			o->route_service = optarg;
		else
			return false;
	}
	if (optind == argc) {
		fputs("kvproxy: route: no key\n", stderr);
		return false;
	}
	o->route_key = argv[optind];
	return options_is_end(argc, argv, optind + 1);
}

/* What follows the word "status". */
static bool
options_parse_status(struct options *o, int argc, char **argv)
{
	static const struct option words[] = {
		{ "json", no_argument, NULL, 'j' }, { NULL, 0, NULL, 0 }
	};
	int c;

	o->task = OPTIONS_STATUS;
	while ((c = getopt_long(argc, argv, "c:", words, NULL)) != -1) {
		if (c == 'c')
			o->config_path = optarg;
		else if (c == 'j')
			o->is_json = true;
		else
			return false;
	}
	return options_is_end(argc, argv, optind);
}

/* The options of a server; *DONE where they have been obeyed already. */
static bool
options_parse_serve(struct options *o, int argc, char **argv, bool *done)
{
	int c;

	while ((c = getopt(argc, argv, "dc:tphv")) != -1) {
		switch (c) {
		case 'd':
			o->is_background = true;
			break;
		case 'c':
			o->config_path = optarg;
			break;
		case 't':
			if (o->task == OPTIONS_SERVE)
				o->task = OPTIONS_CHECK;
			break;
		case 'p':
			o->task = OPTIONS_PATHS;
			break;
		case 'h':
			options_help();
			*done = true;
			return true;
		case 'v':
			printf("kvproxy %s\n", KVPROXY_VERSION);
			*done = true;
			return true;
		default:
			return false;
		}
	}
	return options_is_end(argc, argv, optind);
}

bool
options_parse(struct options *o, int argc, char **argv, int *status)
{
	static const struct {
		const char	*word;
		bool		 (*parse)(struct options *, int, char **);
	} words[] = {
		{ "route", options_parse_route },
		{ "status", options_parse_status },
	};
	bool done = false, is_good;
	size_t i = 0;

	*o = (struct options){ .task = OPTIONS_SERVE };
	while (i < ARRAY_LEN(words) &&
	    (argc < 2 || strcmp(argv[1], words[i].word) != 0))
		i++;
	if (i < ARRAY_LEN(words)) {
		argv[1] = argv[0];
		is_good = words[i].parse(o, argc - 1, argv + 1);
	} else {
		is_good = options_parse_serve(o, argc, argv, &done);
	}
	if (!is_good)
		fputs(options_usage, stderr);
	*status = !is_good;
	return is_good && !done;
}
