/* One exchange on a netlink socket: messages out, acknowledgements back. */
#include "plan.h"

#include <errno.h>
#include <linux/netlink.h>
#include <poll.h>
#include <string.h>
#include <stdio.h>
#include <sys/socket.h>

struct exchange {
	uint32_t acks;
	int error; /* the first */
	uint8_t *answer;
	size_t size, used;
	char *text;
	size_t text_size;
};

/* The kernel's words from the attributes behind an error: NLMSGERR_ATTR_MSG. */
static void read_extack(struct exchange *x, const struct nlmsghdr *head)
{
	const uint8_t *at = (const uint8_t *)NLMSG_DATA(head) + sizeof(struct nlmsgerr);
	const uint8_t *end = (const uint8_t *)head + head->nlmsg_len;
	const struct nlmsgerr *error = NLMSG_DATA(head);
	if (!(head->nlmsg_flags & NLM_F_ACK_TLVS))
		return;
	/* The failed message's payload is echoed between, unless the socket asked for it not to be. */
	if (!(head->nlmsg_flags & NLM_F_CAPPED) && error->msg.nlmsg_len >= sizeof error->msg) {
		size_t echoed = NLMSG_ALIGN(error->msg.nlmsg_len) - sizeof error->msg;
		if (echoed > (size_t)(end - at))
			return;
		at += echoed;
	}
	while (end - at >= (ptrdiff_t)sizeof(struct nlattr)) {
		struct nlattr attribute;
		memcpy(&attribute, at, sizeof attribute);
		if (attribute.nla_len < sizeof attribute || attribute.nla_len > end - at)
			return;
		if ((attribute.nla_type & NLA_TYPE_MASK) == NLMSGERR_ATTR_MSG)
			snprintf(x->text, x->text_size, "%.*s", (int)(attribute.nla_len - sizeof attribute),
				 (const char *)at + sizeof attribute);
		size_t whole = NLA_ALIGN(attribute.nla_len);
		if (whole > (size_t)(end - at))
			return;
		at += whole;
	}
}

static void note_error(struct exchange *x, const struct nlmsghdr *head)
{
	int error = 0;
	x->acks++;
	if (head->nlmsg_len >= NLMSG_LENGTH(sizeof error))
		memcpy(&error, NLMSG_DATA(head), sizeof error);
	if (error >= 0 || x->error)
		return;
	x->error = error;
	if (head->nlmsg_type == NLMSG_ERROR && head->nlmsg_len >= NLMSG_LENGTH(sizeof(struct nlmsgerr)))
		read_extack(x, head);
}

static int note_messages(struct exchange *x, const uint8_t *bytes, size_t size)
{
	while (size >= sizeof(struct nlmsghdr)) {
		const struct nlmsghdr *head = (const struct nlmsghdr *)bytes;
		if (head->nlmsg_len < sizeof *head || head->nlmsg_len > size)
			return -EBADMSG;
		if (head->nlmsg_type == NLMSG_ERROR || head->nlmsg_type == NLMSG_DONE) {
			note_error(x, head);
		} else if (x->answer) {
			if (head->nlmsg_len > x->size - x->used)
				return -EMSGSIZE;
			memcpy(x->answer + x->used, bytes, head->nlmsg_len);
			x->used += head->nlmsg_len;
		}
		size_t whole = NLMSG_ALIGN(head->nlmsg_len);
		if (whole > size)
			break;
		bytes += whole;
		size -= whole;
	}
	return 0;
}

int64_t netlink_exchange(int fd, const uint8_t *request, size_t size, uint32_t acks, uint8_t *answer, size_t answer_size, char *text,
			 size_t text_size)
{
	_Alignas(struct nlmsghdr) uint8_t buffer[32 << 10];
	struct exchange x = {.answer = answer, .size = answer_size, .text = text, .text_size = text_size};
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	ssize_t n;
	do
		n = sendto(fd, request, size, 0, (struct sockaddr *)&kernel, sizeof kernel);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	while (x.acks < acks || x.error) {
		/* The kernel answers within sendto: after an error, which may cancel acks, what is there is all there will be. */
		struct pollfd waiting = {.fd = fd, .events = POLLIN};
		int ready = poll(&waiting, 1, x.error ? 0 : 10000);
		if (ready < 0 && errno == EINTR)
			continue;
		if (ready <= 0)
			return x.error ? x.error : ready < 0 ? -errno : -ETIMEDOUT;
		n = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0)
			return -errno;
		int error = note_messages(&x, buffer, (size_t)n);
		if (error)
			return error;
	}
	return (int64_t)x.used;
}
