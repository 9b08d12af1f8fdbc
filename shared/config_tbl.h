/*
 * config_tbl.h: every option of the core, once.
 *
 * CONFIG_CORE(X) stand in [kvproxy] alone.  CONFIG_SERVICE(X) stand in a
 * service's section; given in [kvproxy] they are the default of all services.
 *
 * X(field, key, type, default, least, most, names, when, sentence)
 *   type   INT, MS (whole milliseconds), SEC (seconds, fractions allowed,
 *          kept as milliseconds), MB (whole MiB, kept as bytes), BOOL (on |
 *          off), ENUM (one of names; its index is kept), STR
 *   least, most   in the unit the file uses; of STR: bytes
 *   when   NOW (a reload brings it), RESTART, LATER (not built yet: read and
 *          checked, one warning where it is set)
 * A default of NULL means "not given": of STR NULL, of INT -1.
 */
#define CONFIG_CORE(X) \
X(thread_count, "thread_count", INT, "2", 1, 256, NULL, NOW, \
    "worker processes, where cpu_affinity is off") \
X(cpu_affinity, "cpu_affinity", BOOL, "on", 0, 1, NULL, NOW, \
    "one worker a core, pinned to it") \
X(log_path, "log_path", STR, NULL, 1, 900, NULL, RESTART, \
    "log file; default: log/kvproxy.log of the installation") \
X(log_level, "log_level", ENUM, "warn", 0, 0, "fatal|error|warn|info|debug", \
    NOW, "what is logged: this level and those before it") \
X(ext_path, "ext_path", STR, NULL, 1, 900, NULL, RESTART, \
    "folder of the extensions; relative: to the folder above bin/") \
X(pid_file, "pid_file", STR, NULL, 1, 900, NULL, RESTART, \
    "pid file; default: log/kvproxy.pid of the installation") \
X(shutdown_timeout_ms, "shutdown_timeout", SEC, "3", 0, 3600, NULL, NOW, \
    "seconds that a stop waits for requests in flight") \
X(user, "user", STR, NULL, 1, 64, NULL, RESTART, \
    "user that the workers run as, where root has started them") \
X(core_dump, "core_dump", BOOL, "off", 0, 1, NULL, RESTART, \
    "a worker that crashes leaves a core") \
X(max_connections, "max_connections", INT, "0", 0, 1000000, NULL, NOW, \
    "client connections in all, 0: what the descriptor limit allows") \
X(worker_buffer, "worker_buffer", MB, "1024", 1, 1048576, NULL, NOW, \
    "MiB in a worker's buffers above which clients that do not read pause") \
X(metrics, "metrics", STR, NULL, 1, 128, NULL, NOW, \
    "address:port, or a port of this machine alone, of the metrics page") \
X(slow_ms, "slow_ms", INT, "0", 0, 3600000, NULL, NOW, \
    "requests slower than this many milliseconds are logged, 0: none")

#define CONFIG_SERVICE(X) \
X(port, "port", INT, "55669", 1, 65535, NULL, NOW, \
    "TCP port that clients connect to") \
X(listen, "listen", STR, NULL, 1, 900, NULL, NOW, \
    "addresses to listen on, in the place of port") \
X(listen_mode, "listen_mode", STR, "0700", 3, 4, NULL, NOW, \
    "octal mode of the unix sockets among them") \
X(backlog, "backlog", INT, "10000", 1, 1000000, NULL, NOW, \
    "connections that may wait to be accepted") \
X(recv_timeout_ms, "recv_timeout", MS, "100", 1, 3600000, NULL, NOW, \
    "milliseconds that a backend may take to answer") \
X(connect_timeout_ms, "connect_timeout", MS, "1000", 1, 3600000, NULL, \
    NOW, "milliseconds that connecting to a backend may take") \
X(idle_timeout_ms, "idle_timeout", SEC, "0", 0, 31536000, NULL, NOW, \
    "seconds after which an idle client is closed, 0: never") \
X(request_timeout_ms, "request_timeout", SEC, "60", 0, 86400, NULL, NOW, \
    "seconds that a request may take to arrive, and one more a KiB; 0: any") \
X(keepalive_ms, "keepalive", SEC, "60", 0, 32767, NULL, NOW, \
    "seconds of silence after which TCP asks whether the peer is there") \
X(tcp_user_timeout_ms, "tcp_user_timeout", SEC, "120", 0, 86400, NULL, NOW, \
    "seconds that a peer may leave what is sent to it unacknowledged") \
X(server_connections, "server_connections", INT, "2", 1, 64, NULL, NOW, \
    "connections from a worker to a backend; the last is for large values") \
X(max_packet, "max_packet", MB, "1", 1, 1024, NULL, NOW, \
    "MiB that a value may have") \
X(client_window, "client_window", INT, "256", 1, 65536, NULL, NOW, \
    "keys that one client may have in flight") \
X(client_buffer, "client_buffer", MB, "1", 1, 1024, NULL, NOW, \
    "MiB waiting for a client above which it is not read") \
X(server_queue, "server_queue", INT, "65536", 1, 16777216, NULL, NOW, \
    "requests that may wait on one backend connection") \
X(server_buffer, "server_buffer", MB, "64", 1, 16384, NULL, NOW, \
    "MiB that may wait to be sent on one backend connection") \
X(distribution, "distribution", ENUM, "ketama", 0, 0, \
    "ketama|kvproxy|modula|jump", NOW, \
    "how keys are spread over the hosts of a group") \
X(hash, "hash", ENUM, "md5", 0, 0, "md5|fnv1_64|fnv1a_64|fnv1_32|fnv1a_32|" \
    "crc32|crc32a|one_at_a_time|murmur", NOW, "hash of the keys") \
X(hash_tag, "hash_tag", STR, NULL, 2, 2, NULL, NOW, \
    "two characters; of a key that has both, what stands between is hashed") \
X(failover, "failover", ENUM, "rehash", 0, 0, "rehash|backup|none", NOW, \
    "what happens to the keys of a host that is out") \
X(failover_threshold, "failover_threshold", INT, "2", 1, 1000000, NULL, \
    NOW, "failure events that take a host out") \
X(failover_interval_ms, "failover_interval", SEC, "2", 0.01, 86400, NULL, \
    NOW, "seconds; longest pause between two tries to reach a host") \
X(failover_ttl_ms, "failover_ttl", SEC, "60", 0, 31536000, NULL, NOW, \
    "seconds that what is written to a stand-in may live") \
X(rejoin, "rejoin", ENUM, "as_is", 0, 0, "as_is|flush", NOW, \
    "how a host that was out comes back") \
X(read_failure, "read_failure", ENUM, "error", 0, 0, "error|miss", NOW, \
    "a read whose host fails is an error, or a miss") \
X(allow_flush, "allow_flush", BOOL, "on", 0, 1, NULL, NOW, \
    "clients may flush_all") \
X(async_size, "async_size", INT, "50000", 0, 100000000, NULL, NOW, \
    "copies that may wait for the backup, in all workers") \
X(async_bytes, "async_bytes", MB, "64", 1, 1048576, NULL, NOW, \
    "MiB of copies that may wait for the backup, in all workers") \
X(async_timeout_ms, "async_timeout", SEC, "10", 0, 86400, NULL, NOW, \
    "seconds that a copy may wait") \
X(sync_str, "sync_str", STR, NULL, 0, 250, NULL, NOW, \
    "keys that begin with this are copied before the client is answered") \
X(extension, "extension", STR, NULL, 1, 255, NULL, RESTART, \
    "file of the protocol extension; makes the section a service") \
X(hosts_name, "hosts", STR, NULL, 1, 255, NULL, NOW, \
    "group that holds the keys") \
X(hosts_backup_name, "hosts_backup", STR, NULL, 0, 255, NULL, NOW, \
    "group that writes are copied to") \
X(hosts_read_name, "hosts_read", STR, NULL, 0, 255, NULL, NOW, \
    "group that reads go to")
