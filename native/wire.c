#include "wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int wire_read(int fd, void *into, size_t size)
{
	uint8_t *at = into;
	while (size > 0) {
		ssize_t n = read(fd, at, size);
		if (n == 0)
			return -ECONNRESET;
		if (n < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		at += n;
		size -= (size_t)n;
	}
	return 0;
}

int frame_read(int fd, struct frame *head, uint8_t **payload)
{
	*payload = NULL;
	int error = wire_read(fd, head, sizeof *head);
	if (error)
		return error;
	if (head->size > FRAME_MAX)
		return -EMSGSIZE;
	*payload = malloc(head->size + 1);
	if (!*payload)
		return -ENOMEM;
	error = wire_read(fd, *payload, head->size);
	if (error) {
		free(*payload);
		*payload = NULL;
	}
	return error;
}

/* Moves past `done` bytes of the vector. */
static void advance(struct iovec **parts, int *count, size_t done)
{
	while (*count > 0 && done >= (*parts)->iov_len) {
		done -= (*parts)->iov_len;
		(*parts)++;
		(*count)--;
	}
	if (*count > 0) {
		(*parts)->iov_base = (uint8_t *)(*parts)->iov_base + done;
		(*parts)->iov_len -= done;
	}
}

enum { PARTS_MAX = 512 };

/* Sends what goes; the vector is left at what does not. MSG_NOSIGNAL: a peer that left is an errno, never a signal. */
static int send_parts(int fd, struct iovec **parts, int *count)
{
	while (*count > 0) {
		struct msghdr message = {.msg_iov = *parts, .msg_iovlen = (size_t)*count};
		ssize_t n = sendmsg(fd, &message, MSG_NOSIGNAL);
		if (n < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		advance(parts, count, (size_t)n);
	}
	return 0;
}

static int frame_vector(struct iovec *vector, struct frame *head, const struct iovec *parts, int count)
{
	size_t size = 0;
	if (count > PARTS_MAX - 1)
		return -EMSGSIZE;
	for (int i = 0; i < count; i++) {
		vector[i + 1] = parts[i];
		size += parts[i].iov_len;
	}
	if (size > FRAME_MAX)
		return -EMSGSIZE;
	head->size = (uint32_t)size;
	vector[0] = (struct iovec){head, sizeof *head};
	return count + 1;
}

int frame_write(int fd, uint32_t channel, uint32_t type, const struct iovec *parts, int count)
{
	struct iovec vector[PARTS_MAX], *rest = vector;
	struct frame head = {.channel = channel, .type = type};
	int left = frame_vector(vector, &head, parts, count);
	return left < 0 ? left : send_parts(fd, &rest, &left);
}

static int reserve(uint8_t **data, size_t *start, size_t *end, size_t *capacity, size_t more)
{
	if (*capacity - *end >= more)
		return 0;
	if (*start > 0) {
		memmove(*data, *data + *start, *end - *start);
		*end -= *start;
		*start = 0;
	}
	if (*capacity - *end >= more)
		return 0;
	size_t wanted = *capacity ? *capacity : 4096;
	while (wanted - *end < more)
		wanted *= 2;
	uint8_t *grown = realloc(*data, wanted);
	if (!grown)
		return -ENOMEM;
	*data = grown;
	*capacity = wanted;
	return 0;
}

int inbox_fill(struct inbox *box, int fd)
{
	size_t more = 4096, have = box->end - box->start;
	struct frame head;
	if (have >= sizeof head) {
		memcpy(&head, box->data + box->start, sizeof head);
		if (head.size <= box->limit && sizeof head + head.size > have)
			more = sizeof head + head.size - have;
	}
	if (reserve(&box->data, &box->start, &box->end, &box->capacity, more))
		return -ENOMEM;
	ssize_t n = read(fd, box->data + box->end, box->capacity - box->end);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (n == 0)
		return -ECONNRESET;
	box->end += (size_t)n;
	return 1;
}

int inbox_next(struct inbox *box, struct frame *head, uint8_t **payload)
{
	size_t have = box->end - box->start;
	if (have == 0 && box->capacity > 0) {
		inbox_free(box);
		return 0;
	}
	if (have < sizeof *head)
		return 0;
	memcpy(head, box->data + box->start, sizeof *head);
	if (head->size > box->limit)
		return -EMSGSIZE;
	if (have < sizeof *head + head->size)
		return 0;
	*payload = box->data + box->start + sizeof *head;
	box->start += sizeof *head + head->size;
	return 1;
}

void inbox_free(struct inbox *box)
{
	free(box->data);
	*box = (struct inbox){.limit = box->limit};
}

int outbox_send(struct outbox *box, int fd, uint32_t channel, uint32_t type, const struct iovec *parts, int count)
{
	struct iovec vector[PARTS_MAX], *rest = vector;
	struct frame head = {.channel = channel, .type = type};
	int left = frame_vector(vector, &head, parts, count);
	if (left < 0)
		return left;
	if (outbox_pending(box) == 0) {
		int error = send_parts(fd, &rest, &left);
		if (error != -EAGAIN)
			return error;
	}
	for (; left > 0; rest++, left--)
		if (outbox_add(box, rest->iov_base, rest->iov_len))
			return -ENOMEM;
	return 0;
}

int outbox_add(struct outbox *box, const void *bytes, size_t size)
{
	if (size == 0)
		return 0;
	if (reserve(&box->data, &box->start, &box->end, &box->capacity, size))
		return -ENOMEM;
	memcpy(box->data + box->end, bytes, size);
	box->end += size;
	return 0;
}

int outbox_flush(struct outbox *box, int fd)
{
	while (box->start < box->end) {
		ssize_t n = write(fd, box->data + box->start, box->end - box->start);
		if (n < 0) {
			if (errno == EINTR)
				continue;
			return errno == EAGAIN ? 0 : -errno;
		}
		box->start += (size_t)n;
	}
	outbox_free(box);
	return 0;
}

size_t outbox_pending(const struct outbox *box)
{
	return box->end - box->start;
}

void outbox_free(struct outbox *box)
{
	free(box->data);
	*box = (struct outbox){0};
}
