/* The archive as it goes out: headers with what they have no room for before them, data, padding. */
#include "pack-inside.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

enum {
	BLOCK = 512,
	MAX_VALUE = 1 << 16, /* of an extended attribute (xattr(7)) */
};

int pack_flush(struct pack *p)
{
	for (size_t at = 0; at < p->used;) {
		ssize_t n = send(p->to, p->buffer + at, p->used - at, MSG_NOSIGNAL);
		if (n < 0 && errno == ENOTSOCK)
			n = write(p->to, p->buffer + at, p->used - at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return pack_fail(p, errno, "archive", "writing");
		at += (size_t)n;
		p->written += n;
	}
	p->used = 0;
	return 0;
}

int pack_put(struct pack *p, const void *data, size_t size)
{
	const uint8_t *from = data;
	while (size) {
		size_t part = size < BUFFER - p->used ? size : BUFFER - p->used;
		if (from) {
			memcpy(p->buffer + p->used, from, part);
			from += part;
		} else {
			memset(p->buffer + p->used, 0, part);
		}
		p->used += part;
		size -= part;
		int error = p->used == BUFFER ? pack_flush(p) : 0;
		if (error)
			return error;
	}
	return 0;
}

int pack_pad(struct pack *p, uint64_t size)
{
	return pack_put(p, NULL, (size_t)(-size % BLOCK));
}

/* ---- headers ---- */

/* "length key=value\n", the length in bytes and including itself. */
static int record(struct pack *p, const char *key, const void *value, size_t size)
{
	size_t rest = strlen(key) + size + 3, length = rest + 1;
	char digits[24];
	while (rest + (size_t)snprintf(digits, sizeof digits, "%zu", length) != length)
		length = rest + strlen(digits);
	if (length > MAX_RECORDS - p->records_size)
		return -E2BIG;
	char *at = p->records + p->records_size;
	at += sprintf(at, "%zu %s=", length, key);
	memcpy(at, value, size);
	at[size] = '\n';
	p->records_size += length;
	return 0;
}

static int record_number(struct pack *p, const char *key, uint64_t value)
{
	char digits[24];
	return record(p, key, digits, (size_t)snprintf(digits, sizeof digits, "%llu", (unsigned long long)value));
}

/* Up to 100 bytes of ASCII. */
static bool is_plain(const char *name)
{
	const char *c = name;
	while (*c && (unsigned char)*c < 128)
		c++;
	return !*c && c - name <= 100;
}

static int record_time(struct pack *p, const struct timespec *t)
{
	/* tv_nsec counts up from tv_sec, also before 1970; the text has one sign for both. */
	bool negative = t->tv_sec < 0;
	long long seconds = t->tv_sec, ns = t->tv_nsec;
	char text[48];
	if (negative && ns) {
		seconds += 1;
		ns = 1000000000 - ns;
	}
	int n = snprintf(text, sizeof text, "%s%lld.%09lld", negative && seconds == 0 ? "-" : "", seconds, ns);
	while (text[n - 1] == '0')
		n--;
	return record(p, "mtime", text, (size_t)(text[n - 1] == '.' ? n - 1 : n));
}

static void octal(uint8_t *field, size_t width, uint64_t value)
{
	for (size_t i = width - 1; i-- > 0; value >>= 3)
		field[i] = (uint8_t)('0' + (value & 7));
	field[width - 1] = 0;
}

static int put_block(struct pack *p, const struct item *i, char type, const char *name, uint64_t size)
{
	uint8_t h[BLOCK] = {0};
	bool old = i->st.st_mtim.tv_sec < 0 || i->st.st_mtim.tv_sec > 077777777777;
	memcpy(h, name, strnlen(name, 100));
	octal(h + 100, 8, i->st.st_mode & 07777);
	octal(h + 108, 8, i->st.st_uid > 07777777 ? 0 : i->st.st_uid);
	octal(h + 116, 8, i->st.st_gid > 07777777 ? 0 : i->st.st_gid);
	octal(h + 124, 12, size > 077777777777 ? 0 : size);
	octal(h + 136, 12, old ? 0 : (uint64_t)i->st.st_mtim.tv_sec);
	memset(h + 148, ' ', 8);
	h[156] = (uint8_t)type;
	if (i->link)
		memcpy(h + 157, i->link, strnlen(i->link, 100));
	memcpy(h + 257, "ustar\00000", 8);
	octal(h + 329, 8, major(i->st.st_rdev));
	octal(h + 337, 8, minor(i->st.st_rdev));
	unsigned sum = 0;
	for (int b = 0; b < BLOCK; b++)
		sum += h[b];
	octal(h + 148, 7, sum);
	return pack_put(p, h, BLOCK);
}

/* The entry's header, with what is in p->records already and what the fields have no room for before it. */
int pack_header(struct pack *p, struct item *i)
{
	int error = 0;
	uint64_t size = i->type == '0' ? (uint64_t)i->st.st_size : 0;
	if (p->flags & KEEL_PACK_ROOT_OWNS)
		i->st.st_uid = i->st.st_gid = 0;
	if (i->type != '3' && i->type != '4')
		i->st.st_rdev = 0;
	if (!is_plain(i->name))
		error = record(p, "path", i->name, strlen(i->name));
	if (!error && i->link && !is_plain(i->link))
		error = record(p, "linkpath", i->link, strlen(i->link));
	if (!error && size > 077777777777)
		error = record_number(p, "size", size);
	if (!error && i->st.st_uid > 07777777)
		error = record_number(p, "uid", i->st.st_uid);
	if (!error && i->st.st_gid > 07777777)
		error = record_number(p, "gid", i->st.st_gid);
	if (!error && (i->st.st_mtim.tv_nsec || i->st.st_mtim.tv_sec < 0 || i->st.st_mtim.tv_sec > 077777777777))
		error = record_time(p, &i->st.st_mtim);
	if (error)
		return pack_fail(p, -error, i->name, "making its header");
	if (p->records_size) {
		struct item pax = {.st = {.st_mode = 0644}};
		error = put_block(p, &pax, 'x', "PaxHeaders/x", p->records_size);
		if (!error)
			error = pack_put(p, p->records, p->records_size);
		if (!error)
			error = pack_pad(p, p->records_size);
		p->records_size = 0;
	}
	return error ? error : put_block(p, i, i->type, i->name, size);
}

static int by_bytes(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int pack_xattrs(struct pack *p, const char *name, int fd)
{
	static char list[MAX_VALUE], value[MAX_VALUE];
	char *names[256], key[300];
	size_t count = 0;
	ssize_t size = p->flags & KEEL_PACK_HEADERS ? 0 : flistxattr(fd, list, sizeof list);
	for (char *at = list; size > 0 && at < list + size; at += strlen(at) + 1)
		if (archive_keeps_xattr(at) && count < sizeof names / sizeof *names)
			names[count++] = at;
	qsort(names, count, sizeof *names, by_bytes);
	for (size_t i = 0; i < count; i++) {
		ssize_t length = fgetxattr(fd, names[i], value, sizeof value);
		snprintf(key, sizeof key, "SCHILY.xattr.%s", names[i]);
		if (length < 0 && errno != ENODATA)
			return pack_fail(p, errno, name, "reading its extended attributes");
		if (length >= 0 && record(p, key, value, (size_t)length))
			return pack_fail(p, E2BIG, name, "its extended attributes");
	}
	return 0;
}
