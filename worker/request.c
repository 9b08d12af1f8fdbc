#include "worker/request.h"

#include <string.h>

#include "worker/client.h"
#include "worker/order.h"

struct request *
request_new(struct service *svc, struct client *c, const struct kvp_cmd *cmd,
    struct kvp_slice note)
{
	struct worker *w = svc->w;
	struct request *req = slab_get(&w->requests);

	if (req == NULL)
		return NULL;
	*req = (struct request){
		.cmd = *cmd, .svc = svc, .begun_us = w->now_us,
		.client = c, .n_parts = 1, .failed_host = UINT32_MAX
	};
	if (note.len > 0) {
		ASSERT(note.len <= KVP_NOTE_MAX);
		if ((req->note = lease_get(&w->bufs, note.len)) == NULL) {
			slab_put(&w->requests, &req);
			return NULL;
		}
		memcpy(req->note->data, note.p, note.len);
		req->note_len = (uint32_t)note.len;
	}
	if (c != NULL) {
		STAILQ_INSERT_TAIL(&c->reqs, req, next);
		c->n_reqs++;
	}
	return req;
}

void
request_release(struct request *req)
{
	struct worker *w = req->svc->w;

	if (req->client != NULL || req->n_legs > 0 || req->n_holds > 0)
		return;
	if (req->holds != NULL)
		order_unhold(req->holds);
	chain_clear(&w->bufs, &req->reply);
	order_drop_items(req);
	if (req->copy != NULL)
		slab_put(&w->copies, &req->copy);
	if (req->note != NULL)
		lease_put(&w->bufs, &req->note);
	slab_put(&w->requests, &req);
	/* A write whose client has gone may have been waited for. */
	if (UNLIKELY(w->draining || w->is_surplus))
		worker_client_gone(w);
}

void
request_leave(struct request *req)
{
	struct client *c = req->client;

	c->n_reqs--;
	if (req->n_issued > req->n_ended && req->cmd.class != KVP_READ)
		c->lane_fixed = true;
	c->in_flight -= req->n_issued - req->n_ended;
	c->kept -= req->kept;
	req->kept = 0;
	if (c->feeding == req)
		c->feeding = NULL;
	req->client = NULL;
	request_release(req);
}

void
request_orphan_all(struct client *c)
{
	struct request *req;

	while ((req = STAILQ_FIRST(&c->reqs)) != NULL) {
		STAILQ_REMOVE_HEAD(&c->reqs, next);
		request_leave(req);
	}
}

struct leg *
request_new_leg(struct request *req, uint32_t index, struct kvp_slice key)
{
	struct worker *w = req->svc->w;
	bool large = key.len > LEG_KEY_SMALL;
	struct leg *leg;

	ASSERT(key.len <= KVP_KEY_MAX);
	leg = slab_get(large ? &w->legs_large : &w->legs_small);
	if (leg == NULL)
		return NULL;
	leg->req = req;
	leg->index = index;
	leg->queued_us = w->now_us;
	leg->sent_us = 0;
	leg->key_len = (uint16_t)key.len;
	leg->large = large;
	leg->abandoned = false;
	leg->retried = false;
	leg->stand_in = false;
	leg->elsewhere = false;
	leg->was_sent = false;
	leg->step = 0;
	leg->body = NULL;
	leg->body_p = NULL;
	leg->body_len = 0;
	if (key.len > 0)
		memcpy(leg->key, key.p, key.len);
	req->n_legs++;
	return leg;
}

void
request_leg_free(struct leg **leg)
{
	struct request *req = (*leg)->req;
	struct worker *w = req->svc->w;

	if ((*leg)->body != NULL)
		lease_put(&w->bufs, &(*leg)->body);
	if ((*leg)->large)
		slab_put(&w->legs_large, leg);
	else
		slab_put(&w->legs_small, leg);
	req->n_legs--;
	request_release(req);
}

struct leg *
request_new_copy(struct service *svc, const struct kvp_cmd *cmd,
    const struct leg *leg)
{
	const struct kvp_slice none = { NULL, 0 };
	const struct kvp_slice key = { leg->key, leg->key_len };
	struct worker *w = svc->w;
	struct request *req = request_new(svc, NULL, cmd, none);
	struct leg *twin;

	if (req == NULL)
		return NULL;
	if ((req->copy = slab_get(&w->copies)) == NULL ||
	    (twin = request_new_leg(req, 0, key)) == NULL) {
		request_release(req);
		return NULL;
	}
	if (leg->body != NULL) {
		leg->body->refs++;
		twin->body = leg->body;
		twin->body_p = leg->body_p;
		twin->body_len = leg->body_len;
	}
	return twin;
}
