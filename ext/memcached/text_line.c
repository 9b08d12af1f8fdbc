#include "ext/memcached/text_line.h"
#include "ext/memcached/wire.h"

/* A value that no server finds too large. */
enum { TEXT_SURELY_FITS = 8192 };

struct command *
text_begin(const struct text_line *line, enum kvp_class class,
    enum command_op op, uint16_t bits)
{
	return command_begin(line->req, class, op, bits, CLIENT_TEXT);
}

ssize_t
text_answer(const struct text_line *line, enum command_answer answer)
{
	text_begin(line, KVP_LOCAL, COMMAND_LOCAL, 0)->answer =
	    (uint8_t)answer;
	return (ssize_t)line->frame;
}

ssize_t
text_refuse(const struct text_line *line, enum command_answer answer,
    uint16_t bits)
{
	ssize_t n = text_answer(line, answer);

	line->req->cmd.flags = KVP_CMD_BAD;
	command_of(&line->req->cmd)->bits = bits;
	return n;
}

ssize_t
text_refuse_store(const struct text_line *line, enum command_answer answer,
    uint16_t bits, uint64_t length)
{
	ssize_t n = text_refuse(line, answer, bits);

	line->req->swallow = length + 2;
	return n;
}

ssize_t
text_refuse_and_close(const struct text_line *line, enum command_answer answer,
    size_t frame, uint16_t bits)
{
	text_refuse(line, answer, bits);
	line->req->cmd.flags |= KVP_CMD_CLOSE;
	return (ssize_t)frame;
}

ssize_t
text_accept(const struct text_line *line, struct kvp_slice key)
{
	line->req->key.key = key;
	line->req->cmd.n_keys = 1;
	return (ssize_t)line->frame;
}

/* A set alone may cost the old value where it turns out to be too large, but
 * ms drops it whatever the mode.  What only ms can say stays so. */
static void
text_spare_old_value(struct command *c)
{
	if (c->op != COMMAND_SET && (c->asks & COMMAND_ASK(CAS)) == 0 &&
	    (c->bits & (COMMAND_MATCH | COMMAND_INVALIDATE)) == 0)
		c->bits |= COMMAND_CLASSIC;
}

ssize_t
text_take_value(const struct text_line *line, struct kvp_slice key,
    uint64_t length)
{
	struct kvp_request *req = line->req;
	const uint8_t *value = line->p + line->frame;
	uint16_t quiet = command_peek(&req->cmd)->dialect == CLIENT_TEXT ?
	    command_peek(&req->cmd)->bits & COMMAND_QUIET : 0;
	size_t total;

	if (length > line->m->max_value) {
		if (command_peek(&req->cmd)->op == COMMAND_SET)
			text_accept(line, key);
		else
			text_refuse(line, COMMAND_ANSWER_TOO_LARGE, quiet);
		req->cmd.flags = KVP_CMD_TOO_LARGE;
		req->swallow = length + 2;
		return (ssize_t)line->frame;
	}
	total = line->frame + (size_t)length + 2;
	if (line->len < total) {
		req->need = total;
		return 0;
	}
	if (value[length] != '\r' || value[length + 1] != '\n')
		return text_refuse_and_close(line, COMMAND_ANSWER_CHUNK, total,
		    quiet);
	if (length > TEXT_SURELY_FITS)
		text_spare_old_value(command_of(&req->cmd));
	req->key.body.p = value;
	req->key.body.len = (size_t)length;
	text_accept(line, key);
	return (ssize_t)total;
}

size_t
text_split(struct kvp_slice *w, size_t most, const uint8_t *p,
    const uint8_t *end)
{
	const uint8_t *word;
	size_t n = 0;

	while (n < most && (word = text_skip_spaces(p, end)) < end) {
		p = text_skip_word(word, end);
		w[n++] = (struct kvp_slice){ word, (size_t)(p - word) };
	}
	return n;
}

bool
text_read_exptime(struct kvp_slice word, int32_t *exptime)
{
	bool minus = word.len > 0 && word.p[0] == '-';
	uint64_t n;

	if (!wire_read_u64(word.p + minus, word.len - minus,
	    (uint64_t)INT64_MAX + minus, &n))
		return false;
	*exptime = (int32_t)(uint32_t)(minus ? 0 - n : n);
	return true;
}
