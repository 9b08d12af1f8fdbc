/*
 * report_setup.c: what of the configuration the metrics page tells.
 *
 * A line of numbers, then one a group.  What parts the words no configuration
 * can have in a name.
 */
#include "shared/report_metrics.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define REPORT_PART	"\037"

static void
report_write_group(FILE *out, const struct report_source *from,
    const struct config_service *service, const char *role,
    const struct config_group *group)
{
	const unsigned n = shm_facts(from->shm)->n_service_entries;
	unsigned entry;

	if (group == NULL)
		return;
	entry = shm_find_service(from->shm, service->name, n);
	ASSERT(entry < n);
	fprintf(out, "%s" REPORT_PART "%s" REPORT_PART "%s",
	    shm_service(from->shm, entry)->name, role, group->name);
	for (size_t i = 0; i < group->n_hosts; i++)
		if (group->hosts[i].weight > 0)
			fprintf(out, REPORT_PART "%u",
			    from->host_entry[group->hosts[i].addr]);
	putc('\n', out);
}

bool
report_write_setup(FILE *out, const struct report_source *from)
{
	const struct config *cfg = from->cfg;

	fprintf(out, "%u %" PRIu64 "\n", from->n_workers,
	    from->max_connections);
	for (size_t i = 0; i < cfg->n_services; i++) {
		const struct config_service *s = &cfg->services[i];

		report_write_group(out, from, s, "hosts", s->hosts);
		report_write_group(out, from, s, "hosts_read", s->read);
		report_write_group(out, from, s, "hosts_backup", s->backup);
	}
	return fflush(out) == 0 && !ferror(out);
}

/* The group of LINE, whose memory it has then. */
static bool
report_read_group(struct report_setup *setup, char *line)
{
	struct report_group *more = reallocarray(setup->groups,
	    setup->n_groups + 1, sizeof(*more)), *g;
	const char *word;
	char *rest = line;

	if (more == NULL) {
		free(line);
		return false;
	}
	setup->groups = more;
	g = &more[setup->n_groups++];
	g->service = strsep(&rest, REPORT_PART);
	g->role = strsep(&rest, REPORT_PART);
	g->name = strsep(&rest, REPORT_PART);
	g->n_entries = 0;
	/* No number takes less than two bytes. */
	g->entries = calloc(rest == NULL ? 1 : strlen(rest) / 2 + 1,
	    sizeof(*g->entries));
	if (g->entries == NULL || g->name == NULL)
		return false;
	while ((word = strsep(&rest, REPORT_PART)) != NULL) {
		g->entries[g->n_entries] = (unsigned)strtoul(word, NULL, 10);
		if (g->entries[g->n_entries++] >= SHM_HOSTS_MAX)
			return false;
	}
	return true;
}

bool
report_read_setup(FILE *in, struct report_setup *setup)
{
	char *line = NULL;
	size_t room = 0;

	memset(setup, 0, sizeof(*setup));
	errno = EINVAL;
	if (fscanf(in, "%u %" SCNu64 "\n", &setup->n_workers,
	    &setup->max_connections) != 2)
		return false;
	while (getline(&line, &room, in) > 0) {
		line[strcspn(line, "\n")] = '\0';
		if (!report_read_group(setup, line))
			return false;
		line = NULL;
		room = 0;
	}
	free(line);
	return !ferror(in);
}

void
report_free_setup(struct report_setup *setup)
{
	for (size_t i = 0; i < setup->n_groups; i++) {
		free(setup->groups[i].entries);
		free(setup->groups[i].service);
	}
	free(setup->groups);
	memset(setup, 0, sizeof(*setup));
}
