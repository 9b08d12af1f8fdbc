/*
 * counters_tbl.h: every counter, once.
 *
 * X(NAME, "name", KIND, OF, "sentence"); KIND is TOTAL (only grows; survives
 * the worker), GAUGE (zeroed when the worker dies) or AGE (a gauge of which the
 * largest counts, where of the others the sum does).
 * COUNTERS_WORKER: one of each in a worker's slot for every service, and one
 * for what is no service's.  OF is SERVICE, or WORKER: it is counted for all of
 * them together.
 * COUNTERS_HOST: one of each for every host in every worker's slot.  OF is
 * HOST, or INTERNAL: no number for people.
 */
#define COUNTERS_WORKER(X) \
X(REQUESTS, "requests", TOTAL, SERVICE, "requests processed") \
X(READS, "reads", TOTAL, SERVICE, "requests that read") \
X(WRITES, "writes", TOTAL, SERVICE, "requests that write") \
X(KEYS_READ, "keys_read", TOTAL, SERVICE, "keys whose values were asked for") \
X(HITS, "get_hits", TOTAL, SERVICE, "keys asked for that were there") \
X(MISSES, "get_misses", TOTAL, SERVICE, \
    "keys asked for that were not there") \
X(STORES, "stores", TOTAL, SERVICE, "values brought to be stored") \
X(TOUCHES, "cmd_touch", TOTAL, SERVICE, "keys to be given a new time to live") \
X(TOUCH_HITS, "touch_hits", TOTAL, SERVICE, \
    "keys to be touched that were there") \
X(TOUCH_MISSES, "touch_misses", TOTAL, SERVICE, \
    "keys to be touched that were not there") \
X(STORED, "stored", TOTAL, SERVICE, \
    "writes of a key, but for gets and touches, that said yes") \
X(NOT_STORED, "not_stored", TOTAL, SERVICE, \
    "writes of a key, but for gets and touches, that said no") \
X(REPLY_ERRORS, "reply_errors", TOTAL, SERVICE, \
    "errors that backends answered") \
X(BAD_REQUESTS, "bad_requests", TOTAL, SERVICE, "requests in error") \
X(TOO_LARGE, "too_large", TOTAL, SERVICE, "stores over max_packet") \
X(FAILED_REQUESTS, "failed_requests", TOTAL, SERVICE, \
    "requests answered with the proxy's own error") \
X(FAILED_AS_MISS, "failed_as_miss", TOTAL, SERVICE, \
    "keys of failed hosts given as misses") \
X(FAIL_NO_HOST, "fail_no_host", TOTAL, SERVICE, \
    "legs failed: the group is empty") \
X(FAIL_DOWN, "fail_down", TOTAL, SERVICE, \
    "legs failed: the host cannot be reached") \
X(FAIL_TIMEOUT, "fail_timeout", TOTAL, SERVICE, \
    "legs failed: no reply within recv_timeout") \
X(FAIL_CLOSED, "fail_closed", TOTAL, SERVICE, \
    "legs failed: the connection died") \
X(FAIL_PROTOCOL, "fail_protocol", TOTAL, SERVICE, \
    "legs failed: the reply made no sense") \
X(FAIL_QUEUE_FULL, "fail_queue_full", TOTAL, SERVICE, \
    "legs failed: too much waits for the host") \
X(FAIL_MEMORY, "fail_memory", TOTAL, SERVICE, "legs failed: out of memory") \
X(FAIL_UNSUPPORTED, "fail_unsupported", TOTAL, SERVICE, \
    "legs failed: not sayable in the backend's dialect") \
X(FAIL_UNREAD, "fail_unread", TOTAL, SERVICE, \
    "replies dropped: too many wait for their client") \
X(FAIL_BACKUP, "fail_backup", TOTAL, SERVICE, \
    "legs failed: the backup has not got it") \
X(STAND_INS, "stand_ins", TOTAL, SERVICE, \
    "keys that went to a stand-in, for their host was out") \
X(REJOIN_MISSES, "rejoin_misses", TOTAL, SERVICE, \
    "keys of hosts about to be emptied given as misses") \
X(SLOW, "slow_requests", TOTAL, SERVICE, "legs slower than slow_ms") \
X(RETRIES, "retries", TOTAL, SERVICE, "reads tried once more") \
X(MOVED, "moved", TOTAL, SERVICE, "unsent legs moved to a new connection") \
X(LATE_REPLIES, "late_replies", TOTAL, SERVICE, \
    "replies that came after their deadline") \
X(FOLLOW_UPS, "follow_ups", TOTAL, SERVICE, "legs sent because of a reply") \
X(BYTES_READ, "bytes_read", TOTAL, SERVICE, "bytes received from clients") \
X(BYTES_WRITTEN, "bytes_written", TOTAL, SERVICE, "bytes sent to clients") \
X(CLIENTS, "curr_connections", GAUGE, SERVICE, "client connections") \
X(CLIENTS_TOTAL, "total_connections", TOTAL, SERVICE, \
    "client connections accepted") \
X(CLIENTS_GIVEN, "clients_given", TOTAL, WORKER, \
    "client connections given to other workers") \
X(CLIENTS_TAKEN, "clients_taken", TOTAL, WORKER, \
    "client connections taken from other workers") \
X(REJECTED, "rejected_connections", TOTAL, SERVICE, \
    "clients refused, for there were too many") \
X(ACCEPT_ERRORS, "accept_errors", TOTAL, SERVICE, "accepts that failed") \
X(PAUSES, "client_pauses", TOTAL, SERVICE, \
    "times a client was not read because too much waited for it") \
X(BUFFER_PAUSES, "buffer_pauses", TOTAL, SERVICE, \
    "times a client that did not read was not read: worker_buffer") \
X(BUFFER_WAITS, "buffer_waits", TOTAL, SERVICE, \
    "large requests that had to wait for others to arrive: worker_buffer") \
X(BUFFERED, "buffered_bytes", GAUGE, WORKER, \
    "bytes in buffers, of clients and of backends") \
X(CLOSE_CLIENT, "close_client", TOTAL, SERVICE, \
    "clients closed: they hung up") \
X(CLOSE_QUIT, "close_quit", TOTAL, SERVICE, \
    "clients closed: they asked for it") \
X(CLOSE_ERROR, "close_error", TOTAL, SERVICE, \
    "clients closed: error on the connection, or they are gone silently") \
X(CLOSE_BAD, "close_bad", TOTAL, SERVICE, \
    "clients closed: what they sent cannot be followed") \
X(CLOSE_TOO_LONG, "close_too_long", TOTAL, SERVICE, \
    "clients closed: a request over all bounds") \
X(CLOSE_MEMORY, "close_memory", TOTAL, SERVICE, \
    "clients closed: out of memory") \
X(CLOSE_IDLE, "close_idle", TOTAL, SERVICE, "clients closed: idle_timeout") \
X(CLOSE_SLOW, "close_slow", TOTAL, SERVICE, \
    "clients closed: request_timeout") \
X(CLOSE_STOP, "close_stop", TOTAL, SERVICE, \
    "clients closed: kvproxy stops, or their service is gone") \
X(SERVERS, "server_connections", GAUGE, SERVICE, "backend connections") \
X(COPIES, "copies", TOTAL, SERVICE, "copies made for the backup group") \
X(COPIES_SENT, "copies_sent", TOTAL, SERVICE, \
    "copies that the backup answered") \
X(COPIES_FAILED, "copies_failed", TOTAL, SERVICE, \
    "copies that the backup refused") \
X(COPIES_DROPPED, "copies_dropped", TOTAL, SERVICE, \
    "copies not made: async_size or async_bytes") \
X(COPIES_EXPIRED, "copies_expired", TOTAL, SERVICE, \
    "copies given up after async_timeout") \
X(COPIES_FLUSHED, "copies_flushed", TOTAL, SERVICE, \
    "copies made deletes: a flush_all came after") \
X(COPIES_UNCERTAIN, "copies_uncertain", TOTAL, SERVICE, \
    "copies that may have been done, or came to another number: the key is " \
    "deleted instead") \
X(COPIES_UNKNOWN, "copies_unknown", TOTAL, SERVICE, \
    "writes of unknown outcome: the key is deleted on the backup") \
X(COPIES_LOST, "copies_lost", TOTAL, SERVICE, \
    "copies that a worker held when it ended") \
X(COPIES_LAG_MS, "copies_lag_ms", AGE, SERVICE, "age of the oldest copy") \
X(COPIES_QUEUED, "copies_queued", GAUGE, SERVICE, \
    "copies that wait for the backup") \
X(LOG_DROPPED, "log_dropped", TOTAL, WORKER, "lines that the log did not take")

#define COUNTERS_HOST(X) \
X(REQUESTS, "requests", TOTAL, HOST, "legs queued for the host") \
X(FAILED, "failed", TOTAL, HOST, "legs that failed") \
X(CONTINUOUS, "continuous", GAUGE, HOST, \
    "legs failed since the last good reply") \
X(LAST_GOOD_US, "last_good_us", TOTAL, INTERNAL, \
    "monotonic time of the last good reply") \
X(LAST_FAILED_US, "last_failed_us", GAUGE, INTERNAL, \
    "monotonic time of the last failed leg") \
X(LAST_GREETED_US, "last_greeted_us", GAUGE, INTERNAL, \
    "monotonic time of the last connection") \
X(LAST_FLUSH_US, "last_flush_us", TOTAL, INTERNAL, \
    "monotonic time of the last flush_all") \
X(FLUSHED_US, "flushed_us", GAUGE, INTERNAL, \
    "monotonic time at which the last flush before a return was asked") \
X(EVENTS_IN_A_ROW, "events_in_a_row", GAUGE, INTERNAL, \
    "failure events since this worker's last good reply") \
X(EVENT_0_US, "event_0_us", GAUGE, INTERNAL, \
    "monotonic times of the newest ones") \
X(EVENT_1_US, "event_1_us", GAUGE, INTERNAL, \
    "the same, second of a ring of four") \
X(EVENT_2_US, "event_2_us", GAUGE, INTERNAL, "the same, third of the ring") \
X(EVENT_3_US, "event_3_us", GAUGE, INTERNAL, "the same, fourth of the ring") \
X(EVENTS, "events", TOTAL, HOST, "failure events") \
X(CONNECTS, "connects", TOTAL, HOST, "connections made and greeted") \
X(CONNECT_ERRORS, "connect_errors", TOTAL, HOST, \
    "connections that were refused or timed out") \
X(LOOKUPS, "lookups", TOTAL, HOST, "look-ups of its name") \
X(LOOKUP_ERRORS, "lookup_errors", TOTAL, HOST, \
    "look-ups that failed: the last address serves") \
X(CLOSES, "closes", TOTAL, HOST, \
    "connections closed by the host with legs in flight") \
X(IDLE_CLOSES, "idle_closes", TOTAL, HOST, \
    "connections closed by the host with none in flight") \
X(EARLY_CLOSES, "early_closes", TOTAL, HOST, \
    "connections closed for an error before a request's end") \
X(SILENCES, "silences", TOTAL, HOST, "connections closed for their silence") \
X(TIMEOUTS, "timeouts", TOTAL, HOST, "legs that timed out") \
X(DESYNCS, "desyncs", TOTAL, HOST, \
    "connections closed for a reply that made no sense") \
X(BYTES_READ, "bytes_read", TOTAL, HOST, "bytes received from the host") \
X(BYTES_WRITTEN, "bytes_written", TOTAL, HOST, "bytes sent to the host") \
X(UP, "connected", GAUGE, HOST, "connections in use")
