/* Frames on a stream: every message between keel and TypeScript. docs/keel.md has the layout. */
#ifndef KEEL_WIRE_H
#define KEEL_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

enum { FRAME_MAX = 16 << 20 };

/* Little endian, as both architectures are. `size` counts the payload that follows. */
struct frame {
	uint32_t size;
	uint32_t channel;
	uint32_t type;
};

/* Blocking. 0, or -errno; -ECONNRESET when the peer is gone, -EMSGSIZE for a frame that is too large. */
int wire_read(int fd, void *into, size_t size);
int frame_write(int fd, uint32_t channel, uint32_t type, const struct iovec *parts, int count);
/* The payload is malloc'd. */
int frame_read(int fd, struct frame *head, uint8_t **payload);

/* Bytes that came from a non-blocking peer and don't make a whole frame yet. */
struct inbox {
	uint8_t *data;
	size_t start, end, capacity;
	size_t limit; /* largest payload accepted */
};

/* Reads once what is there. 1 when there was something, 0 when not (EAGAIN), -errno; -ECONNRESET at the end. */
int inbox_fill(struct inbox *box, int fd);
/* The next whole frame, if there is one: 1; 0 if not; -EMSGSIZE. `payload` points into the box until the next fill. */
int inbox_next(struct inbox *box, struct frame *head, uint8_t **payload);
void inbox_free(struct inbox *box);

/* Bytes that a non-blocking peer hasn't taken yet. */
struct outbox {
	uint8_t *data;
	size_t start, end, capacity;
};

/* Sends a frame or queues what the peer doesn't take. -errno when the peer is gone. */
int outbox_send(struct outbox *box, int fd, uint32_t channel, uint32_t type, const struct iovec *parts, int count);
/* Queues bytes as they are. */
int outbox_add(struct outbox *box, const void *bytes, size_t size);
/* Writes what `fd` takes, be it a socket, a pipe or a terminal; SIGPIPE has to be ignored. -errno when the peer is gone. */
int outbox_flush(struct outbox *box, int fd);
size_t outbox_pending(const struct outbox *box);
void outbox_free(struct outbox *box);

#endif
