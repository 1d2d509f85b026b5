#include "tar-inside.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- reading ---- */

__attribute__((format(printf, 2, 3))) int tar_bad(struct tar *t, const char *format, ...)
{
	va_list list;
	va_start(list, format);
	vsnprintf(t->message, sizeof t->message, format, list);
	va_end(list);
	return -EBADMSG;
}

int tar_truncated(struct tar *t)
{
	return tar_bad(t, "the archive is cut off after %llu bytes", (unsigned long long)(t->offset + (t->end - t->at)));
}

/* Makes `need` bytes (at most a block) available at buffer[at], fewer at the end of the stream. 0 or -errno. */
static int fill(struct tar *t, size_t need)
{
	if (t->end - t->at >= need)
		return 0;
	memmove(t->buffer, t->buffer + t->at, t->end - t->at);
	t->end -= t->at;
	t->at = 0;
	while (t->end < need && !t->at_end) {
		ssize_t n = t->reader(t->context, t->buffer + t->end, BUFFER - t->end);
		if (n < 0) {
			if (errno == EINTR)
				continue;
			int error = errno;
			snprintf(t->message, sizeof t->message, "reading the archive: %s", strerror(error));
			return -error;
		}
		t->at_end = n == 0;
		t->end += (size_t)n;
	}
	return 0;
}

static void used(struct tar *t, size_t n)
{
	t->at += n;
	t->offset += n;
}

/* The next 512 bytes, in place. NULL with *error 0 at the end of the stream, before a block. */
const uint8_t *tar_block(struct tar *t, int *error)
{
	*error = fill(t, BLOCK);
	if (*error)
		return NULL;
	if (t->end - t->at < BLOCK) {
		*error = t->end > t->at ? tar_truncated(t) : 0;
		return NULL;
	}
	const uint8_t *p = t->buffer + t->at;
	used(t, BLOCK);
	return p;
}

/* Up to `most` bytes of the entry's data, in place: their number, 0 at its end, or -errno. */
ssize_t tar_take(struct tar *t, uint64_t most, const uint8_t **piece)
{
	*piece = t->buffer;
	if (most > t->data_left)
		most = t->data_left;
	if (most == 0)
		return 0;
	int error = fill(t, 1);
	if (error)
		return error;
	size_t n = t->end - t->at;
	if (n == 0)
		return tar_truncated(t);
	if (n > most)
		n = (size_t)most;
	*piece = t->buffer + t->at;
	used(t, n);
	t->data_left -= n;
	return (ssize_t)n;
}

ssize_t tar_data(struct tar *t, const uint8_t **piece)
{
	return tar_take(t, UINT64_MAX, piece);
}

int tar_skip(struct tar *t, uint64_t bytes)
{
	const uint8_t *piece;
	while (bytes) {
		ssize_t n = tar_take(t, bytes, &piece);
		if (n <= 0)
			return (int)n;
		bytes -= (uint64_t)n;
	}
	return 0;
}

/* What is left of the entry's data, and its padding. */
static int skip_rest(struct tar *t)
{
	t->data_left += t->padding; /* no overflow: sizes are below 2^63 */
	t->padding = 0;
	return tar_skip(t, t->data_left);
}

static void expect_data(struct tar *t, uint64_t size)
{
	t->data_left = size;
	t->padding = (size_t)(-size % BLOCK);
}

static int append(struct tar *t, struct bytes *b, const void *data, size_t size)
{
	if (b->size + size + 1 > b->capacity) {
		size_t capacity = (b->size + size + 1) * 2;
		char *grown = realloc(b->data, capacity);
		if (!grown) {
			snprintf(t->message, sizeof t->message, "no memory for an extended header");
			return -ENOMEM;
		}
		b->data = grown;
		b->capacity = capacity;
	}
	if (size)
		memcpy(b->data + b->size, data, size);
	b->size += size;
	b->data[b->size] = 0;
	return 0;
}

/* Appends the data of a header that describes another one. */
static int read_meta(struct tar *t, struct bytes *into, uint64_t size)
{
	size_t most = into == &t->global ? MAX_GLOBAL : MAX_META;
	if (size > most || into->size + size > most)
		return tar_bad(t, "an extended header of %llu bytes is too large", (unsigned long long)size);
	expect_data(t, size);
	int error = append(t, into, NULL, 0);
	for (;;) {
		const uint8_t *piece;
		ssize_t n = error ? error : tar_data(t, &piece);
		if (n <= 0)
			return n < 0 ? (int)n : skip_rest(t);
		error = append(t, into, piece, (size_t)n);
	}
}

/* ---- fields ---- */

/* A numeric header field: octal between blanks, or base-256 (GNU, star). */
bool tar_field_number(const uint8_t *f, size_t size, int64_t *out)
{
	size_t i = 0;
	if (f[0] & 0x80) {
		uint64_t flip = f[0] & 0x40 ? UINT64_MAX : 0, value = 0;
		for (; i < size; i++) {
			uint8_t byte = (uint8_t)((i ? f[i] : f[i] & 0x7f) ^ (uint8_t)(flip & (i ? 0xff : 0x7f)));
			if (value >> 55)
				return false;
			value = value << 8 | byte;
		}
		*out = (int64_t)(value ^ flip);
		return true;
	}
	uint64_t value = 0;
	while (i < size && (f[i] == ' ' || f[i] == 0))
		i++;
	for (; i < size && f[i] >= '0' && f[i] <= '7'; i++) {
		if (value >> 60)
			return false;
		value = value << 3 | (uint64_t)(f[i] - '0');
	}
	if (i < size && f[i] != ' ' && f[i] != 0)
		return false;
	*out = (int64_t)value;
	return true;
}

bool tar_id_of(int64_t value, uint32_t *out)
{
	/* -1 would tell chown(2) to leave the owner as it is. */
	if (value < 0 || value >= UINT32_MAX)
		return false;
	*out = (uint32_t)value;
	return true;
}

/* ---- headers ---- */

static bool checksum_fits(const uint8_t *h)
{
	int64_t want, plain = 0, as_signed = 0;
	for (int i = 0; i < BLOCK; i++) {
		uint8_t byte = i >= 148 && i < 156 ? ' ' : h[i];
		plain += byte;
		as_signed += (int8_t)byte; /* as some old programs did */
	}
	return tar_field_number(h + 148, 8, &want) && (want == plain || want == as_signed);
}

static bool is_zero(const uint8_t *h)
{
	return h[0] == 0 && memcmp(h, h + 1, BLOCK - 1) == 0;
}

enum layout { V7, USTAR, STAR, GNU };

static enum layout layout_of(const uint8_t *h)
{
	if (!memcmp(h + 257, "ustar", 6))
		return memcmp(h + 508, "tar", 4) ? USTAR : STAR;
	return memcmp(h + 257, "ustar  ", 8) ? V7 : GNU;
}

/* The fields that every layout has in the same place, and the names. */
static int plain_fields(struct tar *t, const uint8_t *h, enum layout layout, struct tar_entry *e)
{
	int64_t mode, uid, gid, major = 0, minor = 0;
	memset(e, 0, sizeof *e);
	if (!tar_field_number(h + 100, 8, &mode) || !tar_field_number(h + 108, 8, &uid) || !tar_field_number(h + 116, 8, &gid) ||
	    !tar_field_number(h + 136, 12, &e->mtime))
		return tar_bad(t, "mode, owner or time in the header before byte %llu is not a number", (unsigned long long)t->offset);
	bool device = h[156] == TAR_CHAR || h[156] == TAR_BLOCK;
	if (layout != V7 && device && (!tar_field_number(h + 329, 8, &major) || !tar_field_number(h + 337, 8, &minor)))
		return tar_bad(t, "the numbers of a device are malformed");
	e->mode = (uint32_t)(mode & 07777);
	e->mtime_ns = 0;
	size_t prefix = layout == USTAR ? strnlen((const char *)h + 345, 155) : layout == STAR ? strnlen((const char *)h + 345, 131) : 0;
	snprintf(t->name, sizeof t->name, "%.*s%s%.100s", (int)prefix, (const char *)h + 345, prefix ? "/" : "", (const char *)h);
	snprintf(t->link, sizeof t->link, "%.100s", (const char *)h + 157);
	e->path = t->name;
	e->link = t->link;
	if (!tar_id_of(uid, &e->uid) || !tar_id_of(gid, &e->gid) || !tar_id_of(major, &e->major) || !tar_id_of(minor, &e->minor))
		return tar_bad(t, "%.80s: owner or device number is out of range", t->name);
	return 0;
}

/* The header of an entry proper: extended headers are laid over its fields, its data is made ready. */
static int finish_entry(struct tar *t, const uint8_t *header, uint64_t size, struct tar_entry *e)
{
	uint8_t h[BLOCK];
	memcpy(h, header, BLOCK); /* reading on moves the buffer */
	enum layout layout = layout_of(h);
	int error = plain_fields(t, h, layout, e);
	if (!error && h[156] == 'S')
		error = layout == GNU ? tar_sparse_map_old(t, h) : tar_bad(t, "%.80s: a sparse file in an unknown format", t->name);
	if (!error && t->global.size) {
		t->global_copy.size = 0;
		error = append(t, &t->global_copy, t->global.data, t->global.size);
		if (!error)
			error = tar_extend(t, e, &t->global_copy);
	}
	if (!error && t->meta.size)
		error = tar_extend(t, e, &t->meta);
	if (error)
		return error;
	if (t->long_name.size)
		e->path = t->long_name.data;
	if (t->long_link.size)
		e->link = t->long_link.data;
	size_t length = strlen(e->path);
	switch (h[156]) {
	case 0:
		e->type = length && e->path[length - 1] == '/' ? TAR_DIRECTORY : TAR_FILE;
		break;
	case '0':
	case '7': /* contiguous file */
	case 'S':
		e->type = TAR_FILE;
		break;
	case '1' ... '6':
		e->type = (enum tar_type)h[156];
		break;
	default:
		return tar_bad(t, "%.80s: type %d of an entry is unknown", e->path, h[156]);
	}
	if (t->has_size)
		size = t->pax_size;
	expect_data(t, e->type == TAR_FILE ? size : 0);
	e->size = t->data_left;
	if (t->sparse && e->type == TAR_FILE) {
		error = t->sparse_1 ? tar_sparse_map_1_0(t) : 0;
		if (!error)
			error = tar_check_extents(t);
		e->sparse = 1;
		e->size = t->real_size;
	}
	e->extents = t->extents;
	e->extent_count = t->extent_count;
	e->xattrs = t->xattrs;
	e->xattr_count = t->xattr_count;
	return error;
}

/* 1 for the header of an entry, 2 for one that was dealt with here, 0 at the end of the archive, or -errno. */
static int next_header(struct tar *t, const uint8_t **header, uint64_t *size)
{
	int error;
	uint64_t at = t->offset;
	const uint8_t *h = tar_block(t, &error);
	if (!h)
		return error;
	if (is_zero(h)) {
		h = tar_block(t, &error);
		if (!h || is_zero(h))
			return error;
		return tar_bad(t, "data after a lone block of zeros at byte %llu", (unsigned long long)at);
	}
	int64_t number;
	if (!checksum_fits(h))
		return tar_bad(t, at ? "the header at byte %llu has a wrong checksum" : "not a tar archive", (unsigned long long)at);
	if (!tar_field_number(h + 124, 12, &number) || number < 0 || number > INT64_MAX - BLOCK)
		return tar_bad(t, "the size in the header at byte %llu is malformed", (unsigned long long)at);
	*header = h;
	*size = (uint64_t)number;
	switch (h[156]) {
	case 'x':
	case 'X':
		error = read_meta(t, &t->meta, *size);
		break;
	case 'g':
		error = read_meta(t, &t->global, *size);
		break;
	case 'L':
		t->long_name.size = 0;
		error = read_meta(t, &t->long_name, *size);
		break;
	case 'K':
		t->long_link.size = 0;
		error = read_meta(t, &t->long_link, *size);
		break;
	case 'V': /* GNU: label of the volume */
		expect_data(t, *size);
		error = skip_rest(t);
		break;
	default:
		return 1;
	}
	return error ? error : 2;
}

int tar_next(struct tar *t, struct tar_entry *entry)
{
	const uint8_t *header = NULL;
	uint64_t size = 0;
	int result = skip_rest(t);
	if (result)
		return result;
	t->long_name.size = t->long_link.size = t->meta.size = 0;
	t->xattr_count = t->extent_count = 0;
	t->half_extent = t->has_size = t->sparse = t->sparse_1 = t->sparse_name = false;
	t->real_size = 0;
	do
		result = next_header(t, &header, &size);
	while (result == 2);
	if (result != 1)
		return result;
	result = finish_entry(t, header, size, entry);
	return result ? result : 1;
}

int tar_drain(struct tar *t)
{
	while (!t->at_end) {
		used(t, t->end - t->at);
		int error = fill(t, 1);
		if (error)
			return error;
	}
	used(t, t->end - t->at);
	return 0;
}

/* ---- */

struct tar *tar_open(tar_reader *reader, void *context)
{
	struct tar *t = calloc(1, sizeof *t);
	if (!t)
		return NULL;
	t->reader = reader;
	t->context = context;
	t->buffer = malloc(BUFFER);
	if (!t->buffer) {
		free(t);
		return NULL;
	}
	return t;
}

void tar_close(struct tar *t)
{
	free(t->buffer);
	free(t->global.data);
	free(t->global_copy.data);
	free(t->meta.data);
	free(t->long_name.data);
	free(t->long_link.data);
	free(t->xattrs);
	free(t->extents);
	free(t);
}

uint64_t tar_consumed(const struct tar *t)
{
	return t->offset;
}

const char *tar_message(const struct tar *t)
{
	return t->message;
}
