/*
 * What meta clients ask and are told.
 */
#include "t/memcached_rows.h"

#define TWICE	"CLIENT_ERROR duplicate flag"
#define UNKNOWN	"CLIENT_ERROR invalid flag"
#define BAD	"CLIENT_ERROR invalid or duplicate flag"
#define TOKEN	"CLIENT_ERROR bad token in command line format"
#define KEY_CODE "CLIENT_ERROR error decoding key"
#define OPAQUE	"CLIENT_ERROR opaque token too long"
#define OOM	"SERVER_ERROR out of memory"

/* As many as may stand behind a key, and opaques of the greatest length and
 * beyond. */
#define FLAGS_17 "k O1 f c t l h s v q u P L F1 C1 D1 J1"
#define O_31	"Oooooooooooooooooooooooooooooooo"
#define O_32	O_31 "o"

static const struct kvp_ext *const fn = &kvp_extension;

static void
meta_reads_a_get(void **state)
{
	static const struct row rows[] = {
		{ BYTES("mg k\r\n"), "6 read+miss_ok k" },
		{ BYTES("mg k v\n"), "7 read+miss_ok k" },
		{ BYTES("  mg   k   v  \r\n"), "16 read+miss_ok k" },
		{ BYTES("mg k f t l h s v u q k\r\n"), "24 read+miss_ok k" },
		{ BYTES("mg k O123 v\r\n"), "13 read+miss_ok note=123 k" },
		{ BYTES("mg k O\r\n"), "8 read+miss_ok k" },
		{ BYTES("mg k " O_31 "\r\n"), "39 read+miss_ok "
		    "note=ooooooooooooooooooooooooooooooo k" },
		/* What one server alone can say. */
		{ BYTES("mg k c\r\n"), "8 read+primary+miss_ok k" },
		{ BYTES("mg k T30\r\n"), "10 write+primary+miss_ok k" },
		{ BYTES("mg k N30 v\r\n"), "12 write+primary+miss_ok k" },
		{ BYTES("mg k v R0\r\n"), "11 write+primary+miss_ok k" },
		{ BYTES("mg " KEY_250 " v\r\n"), "257 read+miss_ok " KEY_250 },
		{ BYTES("mg \x01" "a\rb\t\xff v\r\n"),
		    "13 read+miss_ok \x01" "a\rb\t\xff" },
		{ BYTES("mg v v\r\n"), "8 read+miss_ok v" },
		{ BYTES("mg YSBi b v\r\n"), "13 read+miss_ok a b" },
		{ BYTES("mg Zm9v v b\r\n"), "13 read+miss_ok foo" },
		{ BYTES("mg /w== b\r\n"), "11 read+miss_ok \xff" },
		{ BYTES("mg k T-2147483648 R2147483647\r\n"),
		    "31 write+primary+miss_ok k" },
		{ BYTES("mg k vx kx qx fx\r\n"), "18 read+miss_ok k" },
		/* Of other commands; read and left out. */
		{ BYTES("mg k MX D1 J2 C3 F4 I P L\r\n"),
		    "27 read+miss_ok k" },
		{ BYTES("mg k " FLAGS_17 "\r\n"),
		    "45 read+primary+miss_ok note=1 k" },
	};

	(void)state;
	rows_check(rows_ext, &rows_lines, rows, LEN(rows));
}

static void
meta_refuses_a_bad_get(void **state)
{
	static const struct row rows[] = {
		{ BYTES("mg\r\n"), "4 local+bad ERROR" },
		{ BYTES("mg \r\n"), "5 local+bad ERROR" },
		{ BYTES("mg\tk\r\n"), "6 local+bad ERROR" },
		{ BYTES("mg " KEY_251 "\r\n"), "256 local+bad " FORMAT },
		{ BYTES("mg " KEY_251 " v v\r\n"), "260 local+bad " FORMAT },
		{ BYTES("mg a\0b v\r\n"), "10 local+bad " FORMAT },
		{ BYTES("mg k " FLAGS_17 " T0\r\n"), "48 local+bad "
		    "CLIENT_ERROR options flags are too long" },
		{ BYTES("mg k v v v v v v v v v v v v v v v v v v v v v v "
		    "v v v v v\r\n"), "60 local+bad "
		    "CLIENT_ERROR options flags are too long" },
		{ BYTES("mg k v v\r\n"), "10 local+bad " TWICE },
		{ BYTES("mg k O1 O2\r\n"), "12 local+bad " TWICE },
		{ BYTES("mg k \x7f\r\n"), "8 local+bad " TWICE },
		{ BYTES("mg k \x80\r\n"), "8 local+bad " TWICE },
		{ BYTES("mg k \xff\r\n"), "8 local+bad " TWICE },
		{ BYTES("mg k ~\r\n"), "8 local+bad " UNKNOWN },
		{ BYTES("mg k \0\r\n"), "8 local+bad " UNKNOWN },
		{ BYTES("mg k S1\r\n"), "9 local+bad " UNKNOWN },
		{ BYTES("mg k x v v\r\n"), "12 local+bad " UNKNOWN },
		{ BYTES("mg foo m o o o o o o o o o\r\n"),
		    "28 local+bad " UNKNOWN },
		{ BYTES("mg !!! b v\r\n"), "12 local+bad " KEY_CODE },
		{ BYTES("mg k b\r\n"), "8 local+bad " KEY_CODE },
		{ BYTES("mg YSBi= b\r\n"), "12 local+bad " KEY_CODE },
		{ BYTES("mg k O" KEY_50 "\r\n"), "58 local+bad " OPAQUE },
		{ BYTES("mg k " O_32 "\r\n"), "40 local+bad " OPAQUE },
		{ BYTES("mg k T\r\n"), "8 local+bad " TOKEN },
		{ BYTES("mg k Tx\r\n"), "9 local+bad " TOKEN },
		{ BYTES("mg k T+1\r\n"), "10 local+bad " TOKEN },
		{ BYTES("mg k T-\r\n"), "9 local+bad " TOKEN },
		{ BYTES("mg k T9223372036854775808\r\n"),
		    "27 local+bad " TOKEN },
		{ BYTES("mg k N-9223372036854775809\r\n"),
		    "28 local+bad " TOKEN },
		{ BYTES("mg k R1x\r\n"), "10 local+bad " TOKEN },
		{ BYTES("mg k C\r\n"), "8 local+bad " TOKEN },
		{ BYTES("mg k C18446744073709551616\r\n"),
		    "28 local+bad " TOKEN },
		{ BYTES("mg k Fx\r\n"), "9 local+bad " FORMAT },
		{ BYTES("mg k F4294967296\r\n"), "18 local+bad " FORMAT },
		{ BYTES("mg k M\r\n"), "8 local+bad "
		    "CLIENT_ERROR incorrect length for M token" },
		{ BYTES("mg k MAP\r\n"), "10 local+bad "
		    "CLIENT_ERROR incorrect length for M token" },
		{ BYTES("mg k D-1\r\n"), "10 local+bad "
		    "CLIENT_ERROR invalid numeric delta value" },
		{ BYTES("mg k Jx\r\n"), "9 local+bad "
		    "CLIENT_ERROR invalid numeric initial value" },
		/* Of several the last one, but for F's. */
		{ BYTES("mg k b Tx\r\n"), "11 local+bad " TOKEN },
		{ BYTES("mg k Tx b\r\n"), "11 local+bad " KEY_CODE },
		{ BYTES("mg k Tx Fx\r\n"), "12 local+bad " TOKEN },
		{ BYTES("mg k Fx Tx\r\n"), "12 local+bad " TOKEN },
		{ BYTES("mg k Tx v v\r\n"), "13 local+bad " TWICE },
		{ BYTES("mg k " O_32 " Tx\r\n"), "43 local+bad " TOKEN },
		{ BYTES("mg k q O1 Tx\r\n"), "14 local+bad " TOKEN },
	};

	(void)state;
	rows_check(rows_ext, &rows_lines, rows, LEN(rows));
}

static void
meta_takes_a_store_with_its_value(void **state)
{
	static const struct row rows[] = {
		{ BYTES("ms k 2\r\nhi\r\n"), "12 write k=hi" },
		{ BYTES("ms k 2\nhi\r\n"), "11 write k=hi" },
		{ BYTES(" ms  k  2  \r\nhi\r\n"), "17 write k=hi" },
		{ BYTES("ms k 0\r\n\r\n"), "10 write k=" },
		{ BYTES("ms k 007\r\nseventy\r\n"), "19 write k=seventy" },
		{ BYTES("ms k 2 c k O9 q MS F4294967295 T-1 I\r\n\r\n\r\n"),
		    "42 write note=9 k=\r\n" },
		{ BYTES("ms k 2 MR C18446744073709551615\r\nhi\r\n"),
		    "37 write k=hi" },
		{ BYTES("ms k 2 ME\r\nhi\r\n"), "15 write k=hi" },
		{ BYTES("ms k 2 MA\r\nhi\r\n"), "15 write k=hi" },
		{ BYTES("ms k 2 MP\r\nhi\r\n"), "15 write k=hi" },
		{ BYTES("ms YSBi 2 b\r\nhi\r\n"), "17 write a b=hi" },
		{ BYTES("ms " KEY_250 " 2\r\nhi\r\n"),
		    "261 write " KEY_250 "=hi" },
		{ BYTES("ms 2 2 v f t l h s u N1 R1 D1 J1 P L\r\nhi\r\n"),
		    "42 write 2=hi" },
	};

	(void)state;
	rows_check(rows_ext, &rows_lines, rows, LEN(rows));
}

static void
meta_takes_the_value_of_a_bad_store_with_it(void **state)
{
	static const struct row rows[] = {
		{ BYTES("ms k 2 MZ\r\n"), "11 local+bad swallow=4 "
		    "CLIENT_ERROR invalid mode for ms M token" },
		{ BYTES("ms k 2 Ms\r\n"), "11 local+bad swallow=4 "
		    "CLIENT_ERROR invalid mode for ms M token" },
		{ BYTES("ms k 2 q MZ " O_32 "\r\n"),
		    "47 local+bad swallow=4 "
		    "CLIENT_ERROR invalid mode for ms M token" },
		{ BYTES("ms k 2 M\r\n"), "10 local+bad swallow=4 "
		    "CLIENT_ERROR incorrect length for M token" },
		{ BYTES("ms k 2 M\0\r\n"), "11 local+bad swallow=4 "
		    "CLIENT_ERROR incorrect length for M token" },
		{ BYTES("ms " KEY_251 " 7\r\n"),
		    "258 local+bad swallow=9 " FORMAT },
		{ BYTES("ms a\0b 7\r\n"), "10 local+bad swallow=9 " FORMAT },
		{ BYTES("ms k 2 v v\r\n"), "12 local+bad swallow=4 " TWICE },
		{ BYTES("ms k 2 S2\r\n"), "11 local+bad swallow=4 " UNKNOWN },
		{ BYTES("ms k 2 Tx\r\n"), "11 local+bad swallow=4 " TOKEN },
		{ BYTES("ms k 2 F-1\r\n"), "12 local+bad swallow=4 " FORMAT },
		{ BYTES("ms k 2 " O_32 "\r\n"),
		    "42 local+bad swallow=4 " OPAQUE },
		{ BYTES("ms !!! 2 b\r\n"),
		    "12 local+bad swallow=4 " KEY_CODE },
		{ BYTES("ms k 2 " FLAGS_17 "\r\n"),
		    "47 local+bad swallow=4 "
		    "CLIENT_ERROR options flags too long" },
		{ BYTES("ms k 1073741824 v v\r\n"),
		    "21 local+bad swallow=1073741826 " TWICE },
		{ BYTES("ms k 2 q v v\r\n"), "14 local+bad swallow=4 " TWICE },
	};

	(void)state;
	rows_check(rows_ext, &rows_lines, rows, LEN(rows));
}

static void
meta_closes_where_a_value_cannot_be_told_apart(void **state)
{
	static const struct row rows[] = {
		{ BYTES("ms k -1\r\n"), "9 local+close+bad " FORMAT },
		{ BYTES("ms k 2147483647\r\n"),
		    "17 local+close+bad " FORMAT },
		{ BYTES("ms k 4294967296\r\n"),
		    "17 local+close+bad " FORMAT },
		{ BYTES("ms k 18446744073709551617\r\n"),
		    "27 local+close+bad " FORMAT },
		{ BYTES("ms k 1073741825 v v\r\n"),
		    "21 local+close+bad " FORMAT },
		{ BYTES("ms k +2\r\n"), "9 local+close+bad " FORMAT },
		{ BYTES("ms k v 2\r\n"), "10 local+close+bad " FORMAT },
		{ BYTES("ms k S2 q\r\n"), "11 local+close+bad " FORMAT },
		{ BYTES("ms " KEY_251 " x\r\n"),
		    "258 local+close+bad " FORMAT },
		{ BYTES("ms k 2\r\nhixx"), "12 local+close+bad " CHUNK },
		{ BYTES("ms k 2\nhi\n\n"), "11 local+close+bad " CHUNK },
		/* It is said to the quiet too. */
		{ BYTES("ms k 2 q\r\nhixx"), "14 local+close+bad " CHUNK },
	};

	(void)state;
	rows_check(rows_ext, &rows_lines, rows, LEN(rows));
}

static void
meta_accepts_no_length_from_a_short_store(void **state)
{
	static const struct row rows[] = {
		{ BYTES("ms\r\n"), "4 local+bad ERROR" },
		{ BYTES("ms \r\n"), "5 local+bad ERROR" },
		{ BYTES("ms k\r\n"), "6 local+bad " FORMAT },
		{ BYTES("ms " KEY_251 "\r\n"), "256 local+bad " FORMAT },
	};

	(void)state;
	rows_check(rows_ext, &rows_lines, rows, LEN(rows));
}

static void
meta_deletes_for_a_set_alone_that_is_too_large(void **state)
{
	static const struct row rows[] = {
		{ BYTES("ms k 65537\r\n"),
		    "12 write+too_large swallow=65539 k" },
		{ BYTES("ms k 1073741824 MS q O1\r\n"),
		    "25 write+too_large swallow=1073741826 note=1 k" },
		{ BYTES("ms YSBi 65537 b\r\n"),
		    "17 write+too_large swallow=65539 a b" },
		{ BYTES("ms k 65537 ME\r\n"),
		    "15 local+too_large swallow=65539 " TOO_LARGE },
		{ BYTES("ms k 65537 MR\r\n"),
		    "15 local+too_large swallow=65539 " TOO_LARGE },
		{ BYTES("ms k 65537 MA\r\n"),
		    "15 local+too_large swallow=65539 " TOO_LARGE },
		{ BYTES("ms k 65537 MP\r\n"),
		    "15 local+too_large swallow=65539 " TOO_LARGE },
		{ BYTES("ms k 65537 C5\r\n"),
		    "15 local+too_large swallow=65539 " TOO_LARGE },
		{ BYTES("ms k 65537 MR C5 I\r\n"),
		    "20 local+too_large swallow=65539 " TOO_LARGE },
		{ BYTES("ms k 65537 ME q O1\r\n"),
		    "20 local+too_large swallow=65539 " TOO_LARGE },
	};
	static const struct talk talks[] = {
		{ "ms k 65537 c k F5 T9\r\n", "md k O7\r\n", "HD O7\r\n",
		    "7 stored", TOO_LARGE "\r\n" },
		{ "ms YSBi 65537 b q\r\n", "md YSBi b O7\r\n", "NF O7\r\n",
		    "7 not_stored", TOO_LARGE "\r\n" },
		{ "ms k 65537\r\n", "md k O7\r\n", OOM "\r\n",
		    "28 error", TOO_LARGE "\r\n" },
	};
	static const struct talk in_text = {
		"ms k 65537 c\r\n", "delete k\r\n", "NOT_FOUND\r\n",
		"11 not_stored", TOO_LARGE "\r\n"
	};

	(void)state;
	rows_check(rows_ext, &rows_lines, rows, LEN(rows));
	rows_check_talks(&rows_meta, &rows_lines, talks, LEN(talks));
	rows_check_talks(&rows_text, &rows_lines, &in_text, 1);
}

static void
meta_reads_deletes_and_counters(void **state)
{
	static const struct row rows[] = {
		{ BYTES("md k\r\n"), "6 write k" },
		{ BYTES("md k q k O1 C5 I T30\r\n"), "22 write note=1 k" },
		{ BYTES("md YSBi b\r\n"), "11 write a b" },
		{ BYTES("md " KEY_250 "\r\n"), "255 write " KEY_250 },
		{ BYTES("md k " FLAGS_17 "\r\n"), "45 write note=1 k" },
		{ BYTES("md\r\n"), "4 local+bad ERROR" },
		{ BYTES("md " KEY_251 "\r\n"), "256 local+bad " FORMAT },
		{ BYTES("md a\0b\r\n"), "8 local+bad " FORMAT },
		{ BYTES("md k " FLAGS_17 " T0\r\n"), "48 local+bad "
		    "CLIENT_ERROR options flags too long" },
		{ BYTES("md !!! b\r\n"), "10 local+bad " BAD },
		{ BYTES("md k v v\r\n"), "10 local+bad " BAD },
		{ BYTES("md k q x\r\n"), "10 local+bad " BAD },
		{ BYTES("md k Tx\r\n"), "9 local+bad " BAD },
		{ BYTES("md k " O_32 "\r\n"), "40 local+bad " OPAQUE },
		{ BYTES("ma k\r\n"), "6 write k" },
		{ BYTES("ma k q v c t k O1 C5 T30 N60 J13 D7\r\n"),
		    "37 write note=1 k" },
		{ BYTES("ma k MI\r\n"), "9 write k" },
		{ BYTES("ma k M+\r\n"), "9 write k" },
		{ BYTES("ma k MD\r\n"), "9 write k" },
		{ BYTES("ma k M-\r\n"), "9 write k" },
		{ BYTES("ma YSBi b\r\n"), "11 write a b" },
		{ BYTES("ma k " FLAGS_17 "\r\n"), "45 write note=1 k" },
		{ BYTES("ma\r\n"), "4 local+bad ERROR" },
		{ BYTES("ma " KEY_251 "\r\n"), "256 local+bad " FORMAT },
		{ BYTES("ma a\0b\r\n"), "8 local+bad " FORMAT },
		{ BYTES("ma k " FLAGS_17 " T0\r\n"), "48 local+bad "
		    "CLIENT_ERROR options flags too long" },
		{ BYTES("ma k MX\r\n"), "9 local+bad "
		    "CLIENT_ERROR invalid mode for ma M token" },
		{ BYTES("ma k MX " O_32 "\r\n"), "43 local+bad "
		    "CLIENT_ERROR invalid mode for ma M token" },
		{ BYTES("ma k M\0\r\n"), "9 local+bad " BAD },
		{ BYTES("ma k M\r\n"), "8 local+bad " BAD },
		{ BYTES("ma k D-1\r\n"), "10 local+bad " BAD },
		{ BYTES("ma k D18446744073709551616\r\n"),
		    "28 local+bad " BAD },
		{ BYTES("ma k J\r\n"), "8 local+bad " BAD },
		{ BYTES("ma !!! b q\r\n"), "12 local+bad " BAD },
		{ BYTES("ma k " O_32 "\r\n"), "40 local+bad " OPAQUE },
		{ BYTES("mn\r\n"), "4 local MN" },
		{ BYTES("mn foo\r\n"), "8 local MN" },
		{ BYTES("me k\r\n"), "6 local+bad ERROR" },
	};

	(void)state;
	rows_check(rows_ext, &rows_lines, rows, LEN(rows));
}

static void
meta_answers_a_get_in_the_order_of_its_flags(void **state)
{
	static const struct talk talks[] = {
		{ "mg k\r\n", "mg k O7\r\n", "HD O7\r\n", "7 hit", "HD\r\n" },
		{ "mg k\r\n", "mg k O7\r\n", "EN\r\n", "4 miss", "EN\r\n" },
		{ "mg k v\r\n", "mg k v O7\r\n", "VA 0 O7\r\n\r\n", "11 hit",
		    "VA 0\r\n\r\n" },
		{ "mg k k O9 v\r\n", "mg k v O7\r\n",
		    "VA 1 O7\r\na\r\n", "12 hit", "VA 1 kk O9\r\na\r\n" },
		{ "mg k O9 k v\r\n", "mg k v O7\r\n", "EN O7\r\n", "7 miss",
		    "EN O9 kk\r\n" },
		{ "mg k O f\r\n", "mg k f O7\r\n", "HD f0 O7\r\n", "10 hit",
		    "HD O f0\r\n" },
		{ "mg k " O_31 "\r\n", "mg k O7\r\n", "HD O7\r\n", "7 hit",
		    "HD " O_31 "\r\n" },
		{ "mg k s v t O12 f c l h k\r\n",
		    "mg k s t f c l h v O7\r\n",
		    "VA 3 s3 t-1 f5 c9 l12 h1 O7\r\nabc\r\n", "34 hit",
		    "VA 3 s3 t-1 O12 f5 c9 l12 h1 kk\r\nabc\r\n" },
		{ "mg k h l c f t s\r\n", "mg k h l c f t s O7\r\n",
		    "HD O7 s4294967295 t0 f4294967295 "
		    "c18446744073709551615 l4294967295 h0\r\n", "71 hit",
		    "HD h0 l4294967295 c18446744073709551615 f4294967295 "
		    "t0 s4294967295\r\n" },
		{ "mg " KEY_250 " k\r\n", "mg " KEY_250 " O7\r\n",
		    "HD O7\r\n", "7 hit", "HD k" KEY_250 "\r\n" },
		{ "mg k f c s t v\r\n", "mg k f c s t v O7\r\n", "EN\r\n",
		    "4 miss", "EN\r\n" },
		/* What changes does so where the client has said it. */
		{ "mg k t T30 v\r\n", "mg k t T30 v O7\r\n",
		    "VA 1 t5 O7\r\na\r\n", "15 hit", "VA 1 t5\r\na\r\n" },
		{ "mg k T30 t u\r\n", "mg k T30 t u O7\r\n",
		    "HD t30 O7\r\n", "11 hit", "HD t30\r\n" },
		/* Times are of 32 bits, whatever the client says. */
		{ "mg k T2147483648 N4294967297 R-9223372036854775808\r\n",
		    "mg k T-1 N1 R0 O7\r\n", "HD O7\r\n", "7 hit",
		    "HD\r\n" },
		{ "mg k R10 N30 T-5 v\r\n", "mg k R10 N30 T-1 v O7\r\n",
		    "VA 0 O7 W\r\n\r\n", "13 hit", "VA 0 W\r\n\r\n" },
	};

	(void)state;
	rows_check_talks(&rows_meta, &rows_lines, talks, LEN(talks));
}

static void
meta_shows_who_may_recache(void **state)
{
	static const struct talk talks[] = {
		{ "mg k v\r\n", "mg k v O7\r\n", "VA 1 O7 W\r\na\r\n",
		    "14 hit", "VA 1 W\r\na\r\n" },
		{ "mg k c\r\n", "mg k c O7\r\n", "HD c9 O7 X W\r\n",
		    "14 hit", "HD c9 X W\r\n" },
		{ "mg k t k\r\n", "mg k t O7\r\n", "HD t5 O7 Z X\r\n",
		    "14 hit", "HD t5 kk Z X\r\n" },
		{ "mg k\r\n", "mg k O7\r\n", "HD W X O7\r\n", "11 hit",
		    "HD X W\r\n" },
		{ "mg k q O1\r\n", "mg k O7\r\n", "HD O7 Z\r\n", "9 hit",
		    "HD O1 Z\r\n" },
	};
	/* And it is the client's, who does not give it back, but where it is
	 * not told of it. */
	static const struct sequel rows[] = {
		{ "mg k\r\n", 0, "HD O7 W X\r\n", KVP_FOLLOW_NONE, "" },
		{ "mg k v c\r\n", 0, "VA 1 c5 O7 W X\r\na\r\n",
		    KVP_FOLLOW_NONE, "" },
		{ "mg k T30\r\n", 0, "HD O7 W X\r\n", KVP_FOLLOW_NONE, "" },
		{ "mg k N30\r\n", 0, "HD O7 W\r\n", KVP_FOLLOW_NONE, "" },
		{ "mg k v\r\n", 0, "VA 65537 O7 X W\r\n",
		    KVP_FOLLOW_ASIDE | KVP_FOLLOW_HOLD, "mg k c O7\r\n" },
		{ "mg k c v\r\n", 0, "VA 65537 c5 O7 X W\r\n",
		    KVP_FOLLOW_ASIDE, "md k C5 I O7\r\n" },
		{ "mg k f\r\n", 0, "HD f4294967296 O7 X W\r\n",
		    KVP_FOLLOW_ASIDE | KVP_FOLLOW_HOLD, "mg k c O7\r\n" },
		{ "mg k R9 c v\r\n", 0, "VA 65537 c5 O7 W\r\n",
		    KVP_FOLLOW_NONE, "" },
	};

	(void)state;
	rows_check_talks(&rows_meta, &rows_lines, talks, LEN(talks));
	rows_check_sequels(&rows_lines, rows, LEN(rows));
}

static void
meta_shows_a_key_as_the_client_wrote_it(void **state)
{
	static const struct talk talks[] = {
		{ "mg YSBi b k v\r\n", "mg YSBi v b O7\r\n",
		    "VA 1 O7\r\na\r\n", "12 hit", "VA 1 kYSBi b\r\na\r\n" },
		{ "mg YSBi k O1 b f\r\n", "mg YSBi f b O7\r\n",
		    "HD f5 O7\r\n", "10 hit", "HD kYSBi b O1 f5\r\n" },
		{ "mg YSBi k b\r\n", "mg YSBi b O7\r\n", "EN O7\r\n",
		    "7 miss", "EN kYSBi b\r\n" },
		{ "mg YSBi b\r\n", "mg YSBi b O7\r\n", "HD O7\r\n", "7 hit",
		    "HD\r\n" },
		{ "mg AAo= b k\r\n", "mg AAo= b O7\r\n", "HD O7\r\n",
		    "7 hit", "HD kAAo= b\r\n" },
		/* One key has one home, however it was written. */
		{ "mg Zm9v b k\r\n", "mg foo O7\r\n", "HD O7\r\n", "7 hit",
		    "HD kZm9v b\r\n" },
		{ "mg foo k\r\n", "mg foo O7\r\n", "HD O7\r\n", "7 hit",
		    "HD kfoo\r\n" },
		{ "ms YSBi 2 k b\r\nhi\r\n", "ms YSBi 2 b O7\r\nhi\r\n",
		    "HD O7\r\n", "7 stored", "HD kYSBi b\r\n" },
		{ "ms Zm9v 2 k b\r\nhi\r\n", "ms foo 2 O7\r\nhi\r\n",
		    "NS O7\r\n", "7 not_stored", "NS kZm9v b\r\n" },
		{ "md YSBi b k\r\n", "md YSBi b O7\r\n", "NF O7\r\n",
		    "7 not_stored", "NF kYSBi b\r\n" },
		{ "ma YSBi b k O1\r\n", "ma YSBi v D1 b O7\r\n",
		    "VA 1 O7\r\n5\r\n", "12 stored", "HD kYSBi b O1\r\n" },
	};

	(void)state;
	rows_check_talks(&rows_meta, &rows_lines, talks, LEN(talks));
}

static void
meta_answers_a_store(void **state)
{
	static const struct talk talks[] = {
		{ "ms k 2\r\nhi\r\n", "ms k 2 O7\r\nhi\r\n", "HD O7\r\n",
		    "7 stored", "HD\r\n" },
		{ "ms k 002 k O9 c F5 T60\r\nhi\r\n",
		    "ms k 2 c F5 T60 O7\r\nhi\r\n", "HD c12 O7\r\n",
		    "11 stored", "HD kk O9 c12\r\n" },
		{ "ms k 0 T-9 MS\r\n\r\n", "ms k 0 T-1 O7\r\n\r\n",
		    "HD O7\r\n", "7 stored", "HD\r\n" },
		{ "ms k 2 T0 F0\r\nhi\r\n", "ms k 2 O7\r\nhi\r\n",
		    "HD O7\r\n", "7 stored", "HD\r\n" },
		/* It says its CAS whatever became of it. */
		{ "ms k 2 ME c k O9\r\nhi\r\n",
		    "ms k 2 c ME O7\r\nhi\r\n", "NS c0 O7\r\n",
		    "10 not_stored", "NS c0 kk O9\r\n" },
		{ "ms k 2 MR c\r\nhi\r\n", "ms k 2 c MR O7\r\nhi\r\n",
		    "NS O7\r\n", "7 not_stored", "NS c0\r\n" },
		{ "ms k 2 C9 c O1\r\nhi\r\n", "ms k 2 c C9 O7\r\nhi\r\n",
		    "EX O7\r\n", "7 not_stored", "EX c0 O1\r\n" },
		{ "ms k 2 C0\r\nhi\r\n", "ms k 2 C0 O7\r\nhi\r\n",
		    "NF O7\r\n", "7 not_stored", "NF\r\n" },
		{ "ms k 2 MR C9\r\nhi\r\n", "ms k 2 C9 O7\r\nhi\r\n",
		    "EX O7\r\n", "7 not_stored", "EX\r\n" },
		{ "ms k 2 ME C9 I\r\nhi\r\n", "ms k 2 ME O7\r\nhi\r\n",
		    "NS O7\r\n", "7 not_stored", "NS\r\n" },
		{ "ms k 2 I C9 F1 T2\r\nhi\r\n",
		    "ms k 2 C9 I F1 T2 O7\r\nhi\r\n", "HD O7\r\n",
		    "7 stored", "HD\r\n" },
		{ "ms k 2 I\r\nhi\r\n", "ms k 2 O7\r\nhi\r\n", "HD O7\r\n",
		    "7 stored", "HD\r\n" },
		{ "ms k 2 MA C9 F1 T2 c\r\nhi\r\n",
		    "ms k 2 c C9 MA O7\r\nhi\r\n", "EX O7\r\n",
		    "7 not_stored", "EX c0\r\n" },
		{ "ms k 2 MP F1 T2\r\nhi\r\n", "ms k 2 MP O7\r\nhi\r\n",
		    "NS O7\r\n", "7 not_stored", "NS\r\n" },
		{ "ms k 2 v f t s N1 R1 D1 J1\r\nhi\r\n",
		    "ms k 2 O7\r\nhi\r\n", "HD O7\r\n", "7 stored",
		    "HD\r\n" },
	};

	(void)state;
	rows_check_talks(&rows_meta, &rows_lines, talks, LEN(talks));
}

static void
meta_answers_deletes_and_counters(void **state)
{
	static const struct talk talks[] = {
		{ "md k\r\n", "md k O7\r\n", "HD O7\r\n", "7 stored",
		    "HD\r\n" },
		{ "md k k O1 I T30 C9\r\n", "md k C9 I T30 O7\r\n",
		    "HD O7\r\n", "7 stored", "HD kk O1\r\n" },
		{ "md k O1 C9 k\r\n", "md k C9 O7\r\n", "EX O7\r\n",
		    "7 not_stored", "EX O1 kk\r\n" },
		{ "md k T30 v c\r\n", "md k O7\r\n", "NF O7\r\n",
		    "7 not_stored", "NF\r\n" },
		{ "ma k\r\n", "ma k v D1 O7\r\n", "VA 2 O7\r\n10\r\n",
		    "13 stored", "HD\r\n" },
		{ "ma k v\r\n", "ma k v D1 O7\r\n",
		    "VA 20 O7\r\n18446744073709551615\r\n", "32 stored",
		    "VA 20\r\n18446744073709551615\r\n" },
		{ "ma k v c t k O1 MD D5\r\n", "ma k c t v D5 MD O7\r\n",
		    "VA 1 t-1 c5 O7\r\n0\r\n", "19 stored",
		    "VA 1 c5 t-1 kk O1\r\n0\r\n" },
		{ "ma k M- t T30\r\n", "ma k t T30 v D1 MD O7\r\n",
		    "VA 1 t5 O7\r\n9\r\n", "15 stored", "HD t5\r\n" },
		{ "ma k T-3 t M+\r\n", "ma k T-1 t v D1 O7\r\n",
		    "VA 1 t0 O7\r\n9\r\n", "15 stored", "HD t0\r\n" },
		{ "ma k D0 C9 k c\r\n", "ma k c v D0 C9 O7\r\n",
		    "EX O7\r\n", "7 not_stored", "EX kk\r\n" },
		{ "ma k O1 k v\r\n", "ma k v D1 O7\r\n", "NF O7\r\n",
		    "7 not_stored", "NF O1 kk\r\n" },
		{ "ma k N60 J13 v t\r\n", "ma k N60 t v D1 J13 O7\r\n",
		    "VA 2 t60 O7\r\n13\r\n", "17 stored",
		    "VA 2 t60\r\n13\r\n" },
		{ "ma k N-1 J0 O1\r\n", "ma k N-1 v D1 O7\r\n", "NS O7\r\n",
		    "7 not_stored", "NS O1\r\n" },
		{ "ma k J13 f s\r\n", "ma k v D1 O7\r\n",
		    "VA 1 O7\r\n1\r\n", "12 stored", "HD\r\n" },
	};

	(void)state;
	rows_check_talks(&rows_meta, &rows_lines, talks, LEN(talks));
}

static void
meta_hides_from_the_quiet_what_is_nominal(void **state)
{
	static const struct talk talks[] = {
		{ "mg k v q O1 k\r\n", "mg k v O7\r\n", "EN O7\r\n",
		    "7 miss", "" },
		{ "mg k v q O1 k\r\n", "mg k v O7\r\n", "VA 1 O7\r\na\r\n",
		    "12 hit", "VA 1 O1 kk\r\na\r\n" },
		{ "mg k q\r\n", "mg k O7\r\n", "HD O7\r\n", "7 hit",
		    "HD\r\n" },
		{ "mg k q\r\n", "mg k O7\r\n", OOM "\r\n", "28 error",
		    OOM "\r\n" },
		{ "ms k 2 q c\r\nhi\r\n", "ms k 2 c O7\r\nhi\r\n",
		    "HD c5 O7\r\n", "10 stored", "" },
		{ "ms k 2 q ME\r\nhi\r\n", "ms k 2 ME O7\r\nhi\r\n",
		    "NS O7\r\n", "7 not_stored", "NS\r\n" },
		{ "ms k 2 q C9\r\nhi\r\n", "ms k 2 C9 O7\r\nhi\r\n",
		    "EX O7\r\n", "7 not_stored", "EX\r\n" },
		{ "ms k 2 q C9 O1\r\nhi\r\n", "ms k 2 C9 O7\r\nhi\r\n",
		    "NF O7\r\n", "7 not_stored", "NF O1\r\n" },
		{ "ms k 2 q\r\nhi\r\n", "ms k 2 O7\r\nhi\r\n",
		    OOM "\r\n", "28 error", OOM "\r\n" },
		{ "md k q\r\n", "md k O7\r\n", "HD O7\r\n", "7 stored", "" },
		{ "md k q\r\n", "md k O7\r\n", "NF O7\r\n", "7 not_stored",
		    "NF\r\n" },
		{ "md k q C9\r\n", "md k C9 O7\r\n", "EX O7\r\n",
		    "7 not_stored", "EX\r\n" },
		{ "ma k q v\r\n", "ma k v D1 O7\r\n", "VA 1 O7\r\n5\r\n",
		    "12 stored", "" },
		{ "ma k q\r\n", "ma k v D1 O7\r\n", "NF O7\r\n",
		    "7 not_stored", "NF\r\n" },
		{ "ma k q\r\n", "ma k v D1 O7\r\n", NON_NUMERIC "\r\n",
		    "62 error", NON_NUMERIC "\r\n" },
	};

	(void)state;
	rows_check_talks(&rows_meta, &rows_lines, talks, LEN(talks));
}

static void
meta_passes_the_errors_of_servers_on(void **state)
{
	static const struct talk talks[] = {
		{ "mg k v f\r\n", "mg k f v O7\r\n",
		    "VA 65537 f5 O7\r\n", "16 error swallow=65539",
		    "SERVER_ERROR value larger than max_packet\r\n" },
		{ "mg k f\r\n", "mg k f O7\r\n", "HD f4294967296 O7\r\n",
		    "19 error", "SERVER_ERROR the value's flags are wider "
		    "than 32 bits\r\n" },
		{ "ms k 2 k O1\r\nhi\r\n", "ms k 2 O7\r\nhi\r\n",
		    TOO_LARGE "\r\n", "41 error", TOO_LARGE "\r\n" },
		{ "md k\r\n", "md k O7\r\n", "CLIENT_ERROR bad\r\n",
		    "18 error+fatal", "CLIENT_ERROR bad\r\n" },
		{ "mg k\r\n", "mg k O7\r\n", "ERROR\r\n", "7 error+fatal",
		    "ERROR\r\n" },
	};

	(void)state;
	rows_check_talks(&rows_meta, &rows_lines, talks, LEN(talks));
}

static void
meta_takes_what_was_not_asked_for_a_desync(void **state)
{
	static const struct nonsense rows[] = {
		{ "mg k\r\n", "VA 1 O7\r\na\r\n" },
		{ "mg k v\r\n", "HD O7\r\n" },
		{ "mg k\r\n", "HD\r\n" },
		{ "mg k\r\n", "NF O7\r\n" },
		{ "mg k\r\n", "HD c5 O7\r\n" },
		{ "mg k c\r\n", "HD O7\r\n" },
		{ "mg k t l\r\n", "HD t5 O7\r\n" },
		{ "mg k t\r\n", "HD t-2 O7\r\n" },
		{ "mg k t\r\n", "HD t O7\r\n" },
		{ "mg k l\r\n", "HD l4294967296 O7\r\n" },
		{ "mg k s\r\n", "HD s4294967296 O7\r\n" },
		{ "mg k h\r\n", "HD h2 O7\r\n" },
		{ "mg k h\r\n", "HD h O7\r\n" },
		{ "mg k c\r\n", "HD c18446744073709551616 O7\r\n" },
		{ "mg k\r\n", "EN O7 W\r\n" },
		{ "mg k\r\n", "HD O7 W W\r\n" },
		{ "mg k k O9\r\n", "HD kk O9\r\n" },
		{ "mg k k\r\n", "HD kk O7\r\n" },
		{ "ms k 2\r\nhi\r\n", "HD c5 O7\r\n" },
		{ "ms k 2 c\r\nhi\r\n", "HD O7\r\n" },
		{ "ms k 2\r\nhi\r\n", "EX O7\r\n" },
		{ "ms k 2\r\nhi\r\n", "NF O7\r\n" },
		{ "ms k 2 MA\r\nhi\r\n", "EX O7\r\n" },
		{ "ms k 2 ME C9\r\nhi\r\n", "EX O7\r\n" },
		{ "ms k 2 C9\r\nhi\r\n", "HD O7 X\r\n" },
		{ "md k\r\n", "EX O7\r\n" },
		{ "md k I\r\n", "HD O7 W\r\n" },
		{ "md k\r\n", "HD t5 O7\r\n" },
		{ "ma k\r\n", "HD O7\r\n" },
		{ "ma k\r\n", "EX O7\r\n" },
		{ "ma k\r\n", "NS O7\r\n" },
		{ "ma k t\r\n", "VA 1 O7\r\n5\r\n" },
		{ "ma k v\r\n", "VA 1 O7\r\nx\r\n" },
	};

	(void)state;
	rows_check_nonsense(&rows_meta, &rows_lines, rows, LEN(rows));
}

static void
meta_is_asked_of_text_servers_as_far_as_can_be(void **state)
{
	static const struct talk talks[] = {
		{ "mg k\r\n", "get k\r\n", "VALUE k 0 1\r\na\r\nEND\r\n",
		    "21 hit", "HD\r\n" },
		{ "mg k O1 s v f k\r\n", "get k\r\n",
		    "VALUE k 5 3\r\nabc\r\nEND\r\n", "23 hit",
		    "VA 3 O1 s3 f5 kk\r\nabc\r\n" },
		{ "mg k c\r\n", "gets k\r\n",
		    "VALUE k 0 1 9\r\na\r\nEND\r\n", "23 hit", "HD c9\r\n" },
		{ "mg k T30 v c\r\n", "gats 30 k\r\n",
		    "VALUE k 0 1 9\r\na\r\nEND\r\n", "23 hit",
		    "VA 1 c9\r\na\r\n" },
		{ "mg k v T-7\r\n", "gat -1 k\r\n", "END\r\n", "5 miss",
		    "EN\r\n" },
		{ "mg k O1 k f\r\n", "get k\r\n", "END\r\n", "5 miss",
		    "EN O1 kk\r\n" },
		{ "mg k q\r\n", "get k\r\n", "END\r\n", "5 miss", "" },
		{ "mg Zm9v b k v\r\n", "get foo\r\n",
		    "VALUE foo 0 0\r\n\r\nEND\r\n", "22 hit",
		    "VA 0 kZm9v b\r\n\r\n" },
		{ "ms k 2 F5 T-9 k\r\nhi\r\n", "set k 5 -1 2\r\nhi\r\n",
		    "STORED\r\n", "8 stored", "HD kk\r\n" },
		{ "ms k 2 ME O1\r\nhi\r\n", "add k 0 0 2\r\nhi\r\n",
		    "NOT_STORED\r\n", "12 not_stored", "NS O1\r\n" },
		{ "ms k 2 ME C9\r\nhi\r\n", "add k 0 0 2\r\nhi\r\n",
		    "STORED\r\n", "8 stored", "HD\r\n" },
		{ "ms k 2 MR q\r\nhi\r\n", "replace k 0 0 2\r\nhi\r\n",
		    "STORED\r\n", "8 stored", "" },
		{ "ms k 2 MA\r\nhi\r\n", "append k 0 0 2\r\nhi\r\n",
		    "NOT_STORED\r\n", "12 not_stored", "NS\r\n" },
		{ "ms k 2 MP I\r\nhi\r\n", "prepend k 0 0 2\r\nhi\r\n",
		    "STORED\r\n", "8 stored", "HD\r\n" },
		{ "ms k 2 C9\r\nhi\r\n", "cas k 0 0 2 9\r\nhi\r\n",
		    "EXISTS\r\n", "8 not_stored", "EX\r\n" },
		{ "ms k 2 MR C9 q\r\nhi\r\n", "cas k 0 0 2 9\r\nhi\r\n",
		    "NOT_FOUND\r\n", "11 not_stored", "NF\r\n" },
		{ "md k k\r\n", "delete k\r\n", "DELETED\r\n", "9 stored",
		    "HD kk\r\n" },
		{ "md k q T30\r\n", "delete k\r\n", "NOT_FOUND\r\n",
		    "11 not_stored", "NF\r\n" },
		{ "ma k\r\n", "incr k 1\r\n", "10\r\n", "4 stored",
		    "HD\r\n" },
		{ "ma k MD D5 v O1\r\n", "decr k 5\r\n", "10\r\n",
		    "4 stored", "VA 2 O1\r\n10\r\n" },
		{ "ma k v\r\n", "incr k 1\r\n", "NOT_FOUND\r\n",
		    "11 not_stored", "NF\r\n" },
	};
	/* What a client would miss cannot be left out. */
	static const struct talk refused[] = {
		{ "mg k t\r\n", NULL, NULL, NULL, NULL },
		{ "mg k l\r\n", NULL, NULL, NULL, NULL },
		{ "mg k h\r\n", NULL, NULL, NULL, NULL },
		{ "mg k u\r\n", NULL, NULL, NULL, NULL },
		{ "mg k N30\r\n", NULL, NULL, NULL, NULL },
		{ "mg k R30\r\n", NULL, NULL, NULL, NULL },
		{ "mg YSBi b\r\n", NULL, NULL, NULL, NULL },
		{ "ms k 2 c\r\nhi\r\n", NULL, NULL, NULL, NULL },
		{ "ms k 2 C9 I\r\nhi\r\n", NULL, NULL, NULL, NULL },
		{ "ms k 2 MA C9\r\nhi\r\n", NULL, NULL, NULL, NULL },
		{ "ms YSBi 2 b\r\nhi\r\n", NULL, NULL, NULL, NULL },
		{ "ms YSBi 65537 b\r\n", NULL, NULL, NULL, NULL },
		{ "md k I\r\n", NULL, NULL, NULL, NULL },
		{ "md k C9\r\n", NULL, NULL, NULL, NULL },
		{ "ma k c\r\n", NULL, NULL, NULL, NULL },
		{ "ma k t\r\n", NULL, NULL, NULL, NULL },
		{ "ma k T30\r\n", NULL, NULL, NULL, NULL },
		{ "ma k C9\r\n", NULL, NULL, NULL, NULL },
		{ "ma YSBi b N30\r\n", NULL, NULL, NULL, NULL },
	};

	(void)state;
	rows_check_talks(&rows_text, &rows_lines, talks, LEN(talks));
	rows_check_talks(&rows_text, &rows_lines, refused, LEN(refused));
}

/* A counter that a miss makes is two commands there, in one leg. */
static void
meta_joins_an_incr_and_its_add(void **state)
{
#define MAKE	"ma k N60 J13 D5 v O1\r\n"
#define MADE	"incr k 5\r\nadd k 0 60 2\r\n13\r\n"
	static const struct talk talks[] = {
		{ MAKE, MADE, "18\r\nNOT_STORED\r\n", "16 stored",
		    "VA 2 O1\r\n18\r\n" },
		{ MAKE, MADE, "18\r\nSTORED\r\n", "12 stored",
		    "VA 2 O1\r\n18\r\n" },
		{ MAKE, MADE, "18\r\n" OOM "\r\n", "32 stored",
		    "VA 2 O1\r\n18\r\n" },
		{ MAKE, MADE, "18\r\nERROR\r\n", "11 stored+fatal",
		    "VA 2 O1\r\n18\r\n" },
		{ MAKE, MADE, "NOT_FOUND\r\nSTORED\r\n", "19 stored",
		    "VA 2 O1\r\n13\r\n" },
		/* Another has made it meanwhile. */
		{ MAKE, MADE, "NOT_FOUND\r\nNOT_STORED\r\n",
		    "23 not_stored", "NS O1\r\n" },
		{ MAKE, MADE, "NOT_FOUND\r\n" OOM "\r\n", "39 error",
		    OOM "\r\n" },
		{ MAKE, MADE, "NOT_FOUND\r\nERROR\r\n", "18 error+fatal",
		    "ERROR\r\n" },
		{ MAKE, MADE, NON_NUMERIC "\r\nNOT_STORED\r\n", "74 error",
		    NON_NUMERIC "\r\n" },
		{ MAKE, MADE, NON_NUMERIC "\r\nSTORED\r\n", "70 error",
		    NON_NUMERIC "\r\n" },
		{ MAKE, MADE, NON_NUMERIC "\r\n" OOM "\r\n", "90 error",
		    NON_NUMERIC "\r\n" },
		{ MAKE, MADE, NON_NUMERIC "\r\nERROR\r\n", "69 error+fatal",
		    NON_NUMERIC "\r\n" },
		{ MAKE, MADE, OOM "\r\nSTORED\r\n", "36 error",
		    OOM "\r\n" },
		{ MAKE, MADE, OOM "\r\nNOT_STORED\r\n", "40 error",
		    OOM "\r\n" },
		{ MAKE, MADE, OOM "\r\nSERVER_ERROR b\r\n", "44 error",
		    OOM "\r\n" },
		{ MAKE, MADE, "ERROR\r\n", "7 error+fatal", "ERROR\r\n" },
		{ "ma k N-9 q MD\r\n",
		    "decr k 1\r\nadd k 0 -1 1\r\n0\r\n",
		    "NOT_FOUND\r\nSTORED\r\n", "19 stored", "" },
		{ "ma k N0 J18446744073709551615\r\n", "incr k 1\r\n"
		    "add k 0 0 20\r\n18446744073709551615\r\n",
		    "NOT_FOUND\r\nSTORED\r\n", "19 stored", "HD\r\n" },
		{ "ma " KEY_250 " N0 J18446744073709551615\r\n",
		    "incr " KEY_250 " 1\r\nadd " KEY_250
		    " 0 0 20\r\n18446744073709551615\r\n",
		    "NOT_FOUND\r\nSTORED\r\n", "19 stored", "HD\r\n" },
	};
	static const struct nonsense rows[] = {
		{ MAKE, "18\r\nEND\r\n" },
		{ MAKE, "18\r\n18\r\n" },
		{ MAKE, "NOT_FOUND\r\nEXISTS\r\n" },
		{ MAKE, "NOT_FOUND\r\nNOT_FOUND\r\n" },
		{ MAKE, "NOT_FOUND\r\nSTORED\n" },
		{ MAKE, "NOT_FOUND\r\n\r\n" },
		{ MAKE, "STORED\r\nSTORED\r\n" },
		{ MAKE, "NOT_STORED\r\nSTORED\r\n" },
	};

	(void)state;
	rows_check_talks(&rows_text, &rows_lines, talks, LEN(talks));
	rows_check_nonsense(&rows_text, &rows_lines, rows, LEN(rows));
#undef MAKE
#undef MADE
}

/* What a meta server is asked to store LEN bytes, with FLAGS, without the
 * value; and what the client sees of REPLY. */
static void
test_large(const char *request, size_t len, const char *asked,
    const char *reply, const char *answered)
{
	char line[ROWS_TEXT_MAX], got[ROWS_TEXT_MAX];
	struct kvp_request req;
	struct kvp_reply r;
	size_t at;

	at = (size_t)sprintf(line, "%s", request);
	memset(line + at, 'v', len);
	memcpy(line + at + len, "\r\n", 3);
	rows_request(&rows_lines, line, &req);
	assert_true(rows_encode(&rows_meta, &req.cmd, &req.key, got));
	at = strlen(asked);
	assert_int_equal(strlen(got), at + len + 2);
	assert_memory_equal(got + at, line + strlen(request), len + 2);
	got[at] = '\0';
	rows_expect(got, asked, request);
	assert_int_equal(rows_decode(&rows_meta, &req, reply, strlen(reply),
	    &r), strlen(reply));
	rows_answer(&rows_lines, &req, &r, got);
	rows_expect(got, answered, request);
}

/* A meta server drops the old value when it cannot store a new one. */
static void
meta_asks_classic_for_large_stores_that_spare_the_old(void **state)
{
	(void)state;
	test_large("ms k 8193\r\n", 8193, "ms k 8193 O7\r\n", "HD O7\r\n",
	    "HD\r\n");
	test_large("ms k 8192 ME\r\n", 8192, "ms k 8192 ME O7\r\n",
	    "NS O7\r\n", "NS\r\n");
	test_large("ms k 8193 ME k\r\n", 8193, "add k 0 0 8193\r\n",
	    "NOT_STORED\r\n", "NS kk\r\n");
	test_large("ms k 8193 MR F5 T9\r\n", 8193, "replace k 5 9 8193\r\n",
	    "STORED\r\n", "HD\r\n");
	test_large("ms k 8193 MA O1\r\n", 8193, "append k 0 0 8193\r\n",
	    TOO_LARGE "\r\n", TOO_LARGE "\r\n");
	test_large("ms k 8193 MP q\r\n", 8193, "prepend k 0 0 8193\r\n",
	    "STORED\r\n", "");
	test_large("cas k 0 0 8193 9\r\n", 8193, "cas k 0 0 8193 9\r\n",
	    "EXISTS\r\n", "EXISTS\r\n");
	test_large("append k 0 0 8193\r\n", 8193, "append k 0 0 8193\r\n",
	    "STORED\r\n", "STORED\r\n");
	test_large("set k 0 0 8193\r\n", 8193, "ms k 8193 O7\r\n",
	    "HD O7\r\n", "STORED\r\n");
	/* What cannot be said there goes in meta all the same. */
	test_large("ms k 8193 ME c\r\n", 8193, "ms k 8193 c ME O7\r\n",
	    "HD c5 O7\r\n", "HD c5\r\n");
	test_large("ms k 8193 C9\r\n", 8193, "ms k 8193 C9 O7\r\n",
	    "EX O7\r\n", "EX\r\n");
	test_large("ms YSBi 8193 ME b\r\n", 8193,
	    "ms YSBi 8193 ME b O7\r\n", "NS O7\r\n", "NS\r\n");
}

static void
meta_says_exactly_how_much_a_store_needs(void **state)
{
	static char request[ROWS_MAX_VALUE + 64] = "ms YSBi 65536 b O1\r\n";
	struct kvp_request req;
	size_t len = strlen(request), whole = len + ROWS_MAX_VALUE + 2;

	(void)state;
	assert_int_equal(rows_parse(rows_ext, request, len, &req), 0);
	assert_int_equal(req.need, whole);
	memcpy(request + whole - 2, "\r\n", 2);
	assert_int_equal(rows_parse(rows_ext, request, whole - 1, &req), 0);
	assert_int_equal(req.need, whole);
	assert_int_equal(rows_parse(rows_ext, request, whole, &req), whole);
	assert_int_equal(req.key.body.len, ROWS_MAX_VALUE);
	assert_int_equal(req.cmd.flags, KVP_CMD_STORES);
}

static void
meta_says_failures_to_the_quiet_too(void **state)
{
	static const struct failure rows[] = {
		{ "mg k v O1 k\r\n", KVP_FAIL_TIMEOUT, "h:1",
		    "SERVER_ERROR h:1 timed out\r\n" },
		{ "mg k q\r\n", KVP_FAIL_DOWN, "h:1",
		    "SERVER_ERROR h:1 cannot be reached\r\n" },
		{ "ms k 2 q\r\nhi\r\n", KVP_FAIL_CLOSED, "h:1",
		    "SERVER_ERROR h:1 closed the connection\r\n" },
		{ "md k q\r\n", KVP_FAIL_NO_HOST, NULL,
		    "SERVER_ERROR no server for this key\r\n" },
		{ "ma k q\r\n", KVP_FAIL_BACKUP, "h:1", "SERVER_ERROR h:1 "
		    "did not take the copy, "
		    "only the primary has done it\r\n" },
		{ "mg k t\r\n", KVP_FAIL_UNSUPPORTED, "h:1", "SERVER_ERROR "
		    "h:1 cannot be asked this in its protocol\r\n" },
		{ "ms k 65537 q\r\n", KVP_FAIL_DOWN, "h:1",
		    TOO_LARGE "\r\n" },
	};

	(void)state;
	rows_check_failures(&rows_lines, rows, LEN(rows));
}

static void
meta_renders_a_bare_miss(void **state)
{
	static const char *const rows[][2] = {
		{ "mg k v f t\r\n", "EN\r\n" },
		{ "mg YSBi v k O1 b\r\n", "EN kYSBi b O1\r\n" },
		{ "mg k N30 v\r\n", "EN\r\n" },
		{ "mg k v q\r\n", "" },
	};

	(void)state;
	rows_check_bare_misses(&rows_lines, rows, LEN(rows));
}

/* Lines of both kinds mix; a packet does not fit in. */
static void
meta_stands_among_classic_lines(void **state)
{
	static const struct row rows[] = {
		{ BYTES("get k\r\n"), "7 read+miss_ok k" },
		{ BYTES("mg k s\r\n"), "8 read+miss_ok k" },
		{ BYTES("quit\r\n"), "6 local+close" },
		{ BYTES("\x80\0\0\0\0\0\0\0\0\0\0\n"), "12 local+bad ERROR" },
	};
	struct kvp_request req;

	(void)state;
	rows_check(rows_ext, &rows_lines, rows, LEN(rows));
	rows_client = (struct kvp_conn){ { 0, 0 } };
	assert_int_equal(fn->parse(rows_ext, &rows_client,
	    rows_place("mg k\r\n", 6), 6, &req), 6);
	rows_check(rows_ext, &rows_lines, rows, LEN(rows));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(meta_reads_a_get),
		cmocka_unit_test(meta_refuses_a_bad_get),
		cmocka_unit_test(meta_takes_a_store_with_its_value),
		cmocka_unit_test(meta_takes_the_value_of_a_bad_store_with_it),
		cmocka_unit_test(
		    meta_closes_where_a_value_cannot_be_told_apart),
		cmocka_unit_test(meta_accepts_no_length_from_a_short_store),
		cmocka_unit_test(
		    meta_deletes_for_a_set_alone_that_is_too_large),
		cmocka_unit_test(meta_reads_deletes_and_counters),
		cmocka_unit_test(meta_answers_a_get_in_the_order_of_its_flags),
		cmocka_unit_test(meta_shows_who_may_recache),
		cmocka_unit_test(meta_shows_a_key_as_the_client_wrote_it),
		cmocka_unit_test(meta_answers_a_store),
		cmocka_unit_test(meta_answers_deletes_and_counters),
		cmocka_unit_test(meta_hides_from_the_quiet_what_is_nominal),
		cmocka_unit_test(meta_passes_the_errors_of_servers_on),
		cmocka_unit_test(meta_takes_what_was_not_asked_for_a_desync),
		cmocka_unit_test(
		    meta_is_asked_of_text_servers_as_far_as_can_be),
		cmocka_unit_test(meta_joins_an_incr_and_its_add),
		cmocka_unit_test(
		    meta_asks_classic_for_large_stores_that_spare_the_old),
		cmocka_unit_test(meta_says_exactly_how_much_a_store_needs),
		cmocka_unit_test(meta_says_failures_to_the_quiet_too),
		cmocka_unit_test(meta_renders_a_bare_miss),
		cmocka_unit_test(meta_stands_among_classic_lines),
	};

	return cmocka_run_group_tests(tests, rows_setup, rows_teardown);
}
