/* The keeper's parts. keep.c is its life from `keep` to the end, the others each a thing it does meanwhile. */
#ifndef KEEL_KEEP_H
#define KEEL_KEEP_H

#include <poll.h>
#include <sys/types.h>

#include "plan.h"
#include "wire.h"

enum {
	STREAM_STDOUT,
	STREAM_STDERR,
	MAX_CLIENTS = 64,
	MAX_RELAYED = 128,
	MAX_LISTENERS = 1024,
	POLL_MAX = 16 + MAX_CLIENTS + MAX_LISTENERS + 2 * MAX_RELAYED,
	READ_SIZE = 128 << 10,
};

int64_t now_milliseconds(void); /* monotonic */
int64_t now_nanoseconds(void);	/* since the epoch */

/* ---- log.c: docker's json-file format ---- */

struct json_log {
	int fd; /* -1: no log */
	const char *path;
	uint64_t max_size, size;
	uint32_t max_files;
	uint8_t *out; /* records that are not written yet */
	size_t used;
	uint64_t dropped; /* bytes of records that found no space */
	struct {
		uint8_t *bytes; /* the beginning of a line whose end hasn't come */
		size_t used;
		char suffix[80]; /* what ends a record: stream and time */
		size_t suffix_size;
	} stream[2];
};

int log_open(struct json_log *log, const char *path, uint64_t max_size, uint32_t max_files);
/* Records what was read from a stream. */
void log_append(struct json_log *log, int stream, const uint8_t *bytes, size_t size);
/* Records a line that will get no end any more. */
void log_end(struct json_log *log, int stream);
void log_flush(struct json_log *log);
/* Gives buffers back to the kernel. */
void log_idle(struct json_log *log);
/* JSON string content, escaped as docker does; `into` has room for 6 * size bytes. Returns the end of what was written. */
uint8_t *json_escape(uint8_t *into, const uint8_t *bytes, size_t size);

/* ---- relay.c: connections passed on ---- */

struct relays {
	uint32_t listener_count, count;
	int listeners[MAX_LISTENERS];
	const struct keep_relay *to[MAX_LISTENERS];
	struct relayed *connections[MAX_RELAYED];
};

int relays_poll(const struct relays *relays, struct pollfd *into);
void relays_serve(struct relays *relays, const struct pollfd *polled);

/* ---- keep.c, detach.c, output.c and clients.c ---- */

enum state { WAITING, STARTING, RUNNING, EXITED, FINISHED };

struct client {
	int fd; /* -1: gone, with input left to deliver */
	struct inbox in;
	struct outbox out;
	struct outbox input; /* for standard input */
	bool wants_stdin, wants[2], controls, closes_stdin;
	uint32_t stall_limit; /* milliseconds without progress after which it is dropped; 0: never */
	int64_t stalled_since; /* 0: it isn't */
};

struct keeper {
	enum state state;
	const struct keep_spec *spec;
	struct machine *machine;
	struct op_list exit_plan;
	pid_t pid;
	int channel, pidfd, gate, report, listener;
	int input, output[2]; /* input and output[0] are the terminal's, if there is one */
	bool terminal, stdin_once;
	int exit_code, signal;
	int64_t started_at, finished_at; /* nanoseconds since the epoch */
	int64_t deadline;		 /* of draining, or of waiting for clients; monotonic milliseconds */
	struct json_log log;
	struct relays relays;
	struct client *clients[MAX_CLIENTS];
	uint32_t client_count;
	uint32_t op_id;
	int64_t hung_up_until; /* monotonic milliseconds */
	bool acknowledged; /* a client deals with what the exit command would */
	uint8_t *buffer;
	bool buffers_used;
	int64_t burst_at;
	int burst_count;
};

enum { HUNG_UP_MS = 100 }; /* between looks at a terminal that nobody has open */

/* No terminal, pipe, directory or signal of whoever started it may reach it, or be held up by it. */
void detach(void);
/* Closes every descriptor but those of the keeper, the standard ones, and what registers of the exit plan hold. */
void close_others(const struct keeper *k);

/* Reads what is ready of stdout (or the terminal) and stderr. */
void output_serve(struct keeper *k, const bool ready[2]);
/* Nobody has the terminal open; it is not looked at for a while. */
bool output_hung_up(struct keeper *k);
/* Nothing has happened for a while: buffers, and pages of the program that only starting needed, are left to the kernel. */
void output_idle(struct keeper *k);

bool client_accept(struct keeper *k);
short client_events(const struct keeper *k, const struct client *c);
/* Deals with what poll(2) said of the client; it may be gone afterwards (and the last one in its place). */
void client_serve(struct keeper *k, uint32_t index, short events);
void clients_send(struct keeper *k, uint32_t type, int stream, const void *bytes, size_t size);
void clients_feed_input(struct keeper *k);
/* A client that is behind holds up reading, as long as the process runs. */
bool clients_full(struct keeper *k);
/* Closes those that didn't take anything for longer than they may. Milliseconds until one may have to be; -1 for none. */
int clients_drop_stalled(struct keeper *k);

/* record.c */
int listen_at(const char *path);
void unlink_at(const char *path);
struct exit_errors {
	uint32_t count;
	struct failure list[8];
};
void write_record(const struct keeper *k, const struct exit_errors *errors);
void run_exit_command(const struct keeper *k);

#endif
