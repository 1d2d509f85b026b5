/* Those who are connected to a keeper's socket. */
#include "keep.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
	FRAME_LIMIT = 128 << 10,
	INPUT_LIMIT = 1 << 20,	     /* input that a client may have sent and the process not taken; clients wait before it */
	BEHIND = 64 << 10,	     /* output a client may be behind before reading stops */
	BEHIND_AT_EXIT = 16 << 20, /* when the process is gone, what is left of its output is all there will be */
};

/* False when nobody waits. */
bool client_accept(struct keeper *k)
{
	int fd = accept4(k->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return false;
	struct client *c = k->client_count < MAX_CLIENTS ? calloc(1, sizeof *c) : NULL;
	if (!c) {
		close(fd);
		return true;
	}
	c->fd = fd;
	c->in.limit = FRAME_LIMIT;
	k->clients[k->client_count++] = c;
	return true;
}

static void close_input(struct keeper *k)
{
	if (k->input >= 0 && !k->terminal) {
		close(k->input);
		k->input = -1;
	}
}

static void forget(struct keeper *k, uint32_t index)
{
	struct client *c = k->clients[index];
	inbox_free(&c->in);
	outbox_free(&c->out);
	outbox_free(&c->input);
	free(c);
	k->clients[index] = k->clients[--k->client_count];
}

/* The connection is over; what the client sent before that still reaches the process. */
static void disconnect(struct keeper *k, uint32_t index)
{
	struct client *c = k->clients[index];
	close(c->fd);
	c->fd = -1;
	if (c->wants_stdin && k->stdin_once)
		c->closes_stdin = true;
	if (outbox_pending(&c->input) > 0)
		return;
	if (c->closes_stdin)
		close_input(k);
	forget(k, index);
}

static int answer(struct client *c, uint32_t request, int32_t result, const void *more, size_t size)
{
	int32_t head[2] = {result, (int32_t)request};
	struct iovec parts[2] = {{head, sizeof head}, {(void *)(uintptr_t)more, size}};
	return outbox_send(&c->out, c->fd, 0, MESSAGE_ANSWER, parts, 2);
}

static uint32_t word(const uint8_t *payload, uint32_t index)
{
	uint32_t value;
	memcpy(&value, payload + 4 * (size_t)index, sizeof value);
	return value;
}

static int take_input(struct keeper *k, struct client *c, const uint8_t *bytes, uint32_t size)
{
	if (k->input < 0 || c->closes_stdin) {
		/* Nobody reads it any more: taken, so that the client doesn't wait. */
		struct iovec part = {&size, sizeof size};
		return outbox_send(&c->out, c->fd, 0, MESSAGE_STDIN_TAKEN, &part, 1);
	}
	if (outbox_pending(&c->input) + size > INPUT_LIMIT)
		return -EMSGSIZE;
	return outbox_add(&c->input, bytes, size);
}

static int32_t resize(struct keeper *k, uint32_t columns, uint32_t rows)
{
	struct winsize window = {.ws_col = (unsigned short)columns, .ws_row = (unsigned short)rows};
	int fd = k->output[0] >= 0 ? k->output[0] : k->input;
	if (!k->terminal)
		return -ENOTTY;
	return ioctl(fd, TIOCSWINSZ, &window) < 0 ? -errno : 0;
}

static int32_t send_signal(struct keeper *k, uint32_t number)
{
	if (k->state != STARTING && k->state != RUNNING)
		return k->state == WAITING ? -EAGAIN : -ESRCH;
	return syscall(SYS_pidfd_send_signal, k->pidfd, (int)number, NULL, 0) < 0 ? -errno : 0;
}

static int answer_status(struct keeper *k, struct client *c)
{
	struct {
		int32_t pid, keeper, state, exit_code;
		int64_t started_at, dropped;
	} status = {k->pid, getpid(), k->state, k->exit_code, k->started_at, (int64_t)k->log.dropped};
	return answer(c, MESSAGE_STATUS, 0, &status, sizeof status);
}

static int32_t reopen_log(struct keeper *k)
{
	if (k->log.fd < 0)
		return -ENOENT;
	log_flush(&k->log);
	return log_open(&k->log, k->log.path, k->log.max_size, k->log.max_files);
}

/* 0, or -errno for which the client is disconnected. */
static int take_frame(struct keeper *k, struct client *c, const struct frame *head, const uint8_t *payload)
{
	static const uint8_t words[] = {[MESSAGE_ATTACH] = 2, [MESSAGE_RESIZE] = 2, [MESSAGE_KILL] = 1};
	if (head->type < sizeof words && head->size < 4u * words[head->type])
		return -EBADMSG;
	switch (head->type) {
	case MESSAGE_ATTACH: {
		uint32_t wanted = word(payload, 0);
		c->wants_stdin = wanted & 1;
		c->wants[STREAM_STDOUT] = wanted & 2;
		c->wants[STREAM_STDERR] = wanted & 4;
		c->stall_limit = word(payload, 1);
		return answer(c, head->type, 0, NULL, 0);
	}
	case MESSAGE_STDIN:
		return c->wants_stdin ? take_input(k, c, payload, head->size) : -EBADMSG;
	case MESSAGE_CLOSE_STDIN:
		c->closes_stdin = true;
		if (outbox_pending(&c->input) == 0)
			close_input(k);
		return 0;
	case MESSAGE_RESIZE:
		return answer(c, head->type, resize(k, word(payload, 0), word(payload, 1)), NULL, 0);
	case MESSAGE_KILL:
		return answer(c, head->type, send_signal(k, word(payload, 0)), NULL, 0);
	case MESSAGE_STATUS:
		return answer_status(k, c);
	case MESSAGE_CONTROL:
		c->controls = true;
		return answer(c, head->type, 0, NULL, 0);
	case MESSAGE_ACKNOWLEDGE:
		k->acknowledged |= k->state >= EXITED;
		return 0;
	case MESSAGE_REOPEN_LOG:
		return answer(c, head->type, reopen_log(k), NULL, 0);
	default:
		return -EBADMSG;
	}
}

static int read_client(struct keeper *k, struct client *c)
{
	struct frame head;
	uint8_t *payload;
	int n = inbox_fill(&c->in, c->fd);
	if (n <= 0)
		return n;
	while ((n = inbox_next(&c->in, &head, &payload)) > 0) {
		int error = take_frame(k, c, &head, payload);
		if (error)
			return error;
	}
	return n;
}

short client_events(const struct keeper *k, const struct client *c)
{
	size_t behind = outbox_pending(&c->out);
	bool listens = k->state >= EXITED || behind < BEHIND_AT_EXIT / 2; /* to one who asks and never reads, no more */
	return (short)((listens ? POLLIN : 0) | (behind > 0 ? POLLOUT : 0));
}

void client_serve(struct keeper *k, uint32_t index, short events)
{
	struct client *c = k->clients[index];
	int error = 0;
	if (events & POLLOUT) {
		size_t before = outbox_pending(&c->out);
		error = outbox_flush(&c->out, c->fd);
		if (outbox_pending(&c->out) < before)
			c->stalled_since = 0;
	}
	if (!error && (events & (POLLIN | POLLHUP | POLLERR)))
		error = read_client(k, c);
	if (error)
		disconnect(k, index);
}

void clients_send(struct keeper *k, uint32_t type, int stream, const void *bytes, size_t size)
{
	struct iovec part = {(void *)(uintptr_t)bytes, size};
	for (uint32_t i = k->client_count; i-- > 0;) {
		struct client *c = k->clients[i];
		if (c->fd < 0 || (stream >= 0 && !c->wants[stream]))
			continue;
		bool too_much = outbox_pending(&c->out) + size > BEHIND_AT_EXIT;
		if (too_much || outbox_send(&c->out, c->fd, 0, type, &part, 1))
			disconnect(k, i);
	}
}

/* Writes what the process takes of its clients' input, one client after the other. */
void clients_feed_input(struct keeper *k)
{
	for (uint32_t i = k->client_count; i-- > 0;) {
		struct client *c = k->clients[i];
		size_t before = outbox_pending(&c->input);
		if (before == 0)
			continue;
		/* A process that closed its standard input takes everything, as far as the client is concerned. */
		if (k->input < 0 || outbox_flush(&c->input, k->input))
			outbox_free(&c->input);
		uint32_t taken = (uint32_t)(before - outbox_pending(&c->input));
		struct iovec part = {&taken, sizeof taken};
		bool done = outbox_pending(&c->input) == 0;
		if (c->fd >= 0 && taken > 0 && outbox_send(&c->out, c->fd, 0, MESSAGE_STDIN_TAKEN, &part, 1))
			disconnect(k, i);
		else if (done && c->closes_stdin)
			close_input(k);
		if (done && i < k->client_count && k->clients[i] == c && c->fd < 0)
			forget(k, i);
	}
}

bool clients_full(struct keeper *k)
{
	if (k->state >= EXITED)
		return false;
	for (uint32_t i = 0; i < k->client_count; i++)
		if (outbox_pending(&k->clients[i]->out) > BEHIND)
			return true;
	return false;
}

int clients_drop_stalled(struct keeper *k)
{
	int64_t now = 0, next = -1;
	for (uint32_t i = k->client_count; i-- > 0;) {
		struct client *c = k->clients[i];
		if (c->fd < 0 || c->stall_limit == 0 || outbox_pending(&c->out) == 0) {
			c->stalled_since = 0;
			continue;
		}
		if (now == 0)
			now = now_milliseconds();
		if (c->stalled_since == 0)
			c->stalled_since = now;
		int64_t left = c->stalled_since + c->stall_limit - now;
		if (left <= 0)
			disconnect(k, i);
		else if (next < 0 || left < next)
			next = left;
	}
	return next > 1 << 20 ? 1 << 20 : (int)next;
}
