/* Connections to a listening socket, passed on to an address: how a port of the host's ::1 reaches a container. */
#include "keep.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PIECE = 64 << 10 };

/* One direction: bytes wait in a pipe, so that they never enter this process. */
struct half {
	int pipe[2];
	size_t queued;
	bool ended, closed; /* nothing more comes; the other side has been told */
};

struct relayed {
	int fd[2];	     /* who connected; what it was connected to */
	struct half half[2]; /* half[i]: from fd[i] to the other */
};

static void end_relayed(struct relays *relays, uint32_t index)
{
	struct relayed *r = relays->connections[index];
	for (int i = 0; i < 2; i++) {
		close(r->fd[i]);
		close(r->half[i].pipe[0]);
		close(r->half[i].pipe[1]);
	}
	free(r);
	relays->connections[index] = relays->connections[--relays->count];
}

static void begin_relayed(struct relays *relays, uint32_t listener)
{
	const struct keep_relay *to = relays->to[listener];
	struct sockaddr_storage address = {0};
	__builtin_memcpy(&address, to->to, to->size);
	int from = accept4(relays->listeners[listener], NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (from < 0)
		return;
	struct relayed *r = calloc(1, sizeof *r);
	int target = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (!r || target < 0 || (connect(target, (struct sockaddr *)&address, to->size) < 0 && errno != EINPROGRESS) ||
	    pipe2(r->half[0].pipe, O_CLOEXEC | O_NONBLOCK) < 0)
		goto failed;
	if (pipe2(r->half[1].pipe, O_CLOEXEC | O_NONBLOCK) < 0) {
		close(r->half[0].pipe[0]);
		close(r->half[0].pipe[1]);
		goto failed;
	}
	r->fd[0] = from;
	r->fd[1] = target;
	relays->connections[relays->count++] = r;
	return;
failed:
	close(from);
	if (target >= 0)
		close(target);
	free(r);
}

/* False when the connection is broken. */
static bool pump(struct relayed *r, int i)
{
	struct half *h = &r->half[i];
	ssize_t n;
	if (!h->ended && h->queued < PIECE) {
		n = splice(r->fd[i], NULL, h->pipe[1], NULL, PIECE - h->queued, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return false;
		h->ended = n == 0;
		h->queued += n > 0 ? (size_t)n : 0;
	}
	if (h->queued > 0) {
		n = splice(h->pipe[0], NULL, r->fd[1 - i], NULL, h->queued, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return false;
		h->queued -= n > 0 ? (size_t)n : 0;
	}
	if (h->ended && h->queued == 0 && !h->closed) {
		shutdown(r->fd[1 - i], SHUT_WR);
		h->closed = true;
	}
	return !(r->half[0].closed && r->half[1].closed);
}

int relays_poll(const struct relays *relays, struct pollfd *into)
{
	int count = 0;
	for (uint32_t i = 0; i < relays->listener_count; i++) {
		bool full = relays->count == MAX_RELAYED;
		into[count++] = (struct pollfd){.fd = full ? -1 : relays->listeners[i], .events = POLLIN};
	}
	for (uint32_t i = 0; i < relays->count; i++) {
		const struct relayed *r = relays->connections[i];
		for (int side = 0; side < 2; side++) {
			const struct half *out = &r->half[side], *in = &r->half[1 - side];
			short events = (short)((!out->ended && out->queued < PIECE ? POLLIN : 0) | (in->queued > 0 ? POLLOUT : 0));
			/* With nothing to wait for it isn't watched: a hang-up would be told again and again. */
			into[count++] = (struct pollfd){.fd = events ? r->fd[side] : -1, .events = events};
		}
	}
	return count;
}

void relays_serve(struct relays *relays, const struct pollfd *polled)
{
	uint32_t count = relays->count;
	const struct pollfd *connections = polled + relays->listener_count;
	for (uint32_t i = count; i-- > 0;) {
		struct relayed *r = relays->connections[i];
		bool any = connections[2 * i].revents || connections[2 * i + 1].revents;
		if (any && (!pump(r, 0) || !pump(r, 1)))
			end_relayed(relays, i);
	}
	for (uint32_t i = 0; i < relays->listener_count; i++)
		if (polled[i].revents && relays->count < MAX_RELAYED)
			begin_relayed(relays, i);
}
