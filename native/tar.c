#include "tar.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	BLOCK = 512,
#ifdef KEEL_FUZZ
	BUFFER = 1 << 12, /* cheaper to poison */
#else
	BUFFER = 1 << 20,
#endif
	MAX_META = 1 << 20, /* extended headers and long names of one entry; as Go's reader */
	MAX_GLOBAL = 1 << 14, /* they are read again for every entry */
	MAX_EXTENTS = 1 << 20,
	MAX_XATTRS = 1024,
};

/* Bytes that grow; `data` always has room for a NUL after `size`. */
struct bytes {
	char *data;
	size_t size, capacity;
};

struct tar {
	tar_reader *reader;
	void *context;
	uint8_t *buffer;
	size_t at, end;     /* what is in `buffer` and not used yet */
	uint64_t offset;    /* of buffer[at] in the stream */
	uint64_t data_left; /* of the current entry */
	size_t padding;     /* after it */
	bool at_end;        /* of the stream */

	struct bytes global, global_copy, meta, long_name, long_link;
	struct tar_xattr *xattrs;
	size_t xattr_count;
	struct tar_extent *extents;
	size_t extent_count, extent_capacity;
	bool half_extent; /* GNU.sparse.offset came, its numbytes not yet */

	bool has_size, sparse, sparse_1, sparse_name;
	uint64_t pax_size, real_size;
	char name[257], link[101];
	char message[200];
};

/* ---- reading ---- */

__attribute__((format(printf, 2, 3))) static int bad(struct tar *t, const char *format, ...)
{
	va_list list;
	va_start(list, format);
	vsnprintf(t->message, sizeof t->message, format, list);
	va_end(list);
	return -EBADMSG;
}

static int truncated(struct tar *t)
{
	return bad(t, "the archive is cut off after %llu bytes", (unsigned long long)(t->offset + (t->end - t->at)));
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
static const uint8_t *block(struct tar *t, int *error)
{
	*error = fill(t, BLOCK);
	if (*error)
		return NULL;
	if (t->end - t->at < BLOCK) {
		*error = t->end > t->at ? truncated(t) : 0;
		return NULL;
	}
	const uint8_t *p = t->buffer + t->at;
	used(t, BLOCK);
	return p;
}

/* Up to `most` bytes of the entry's data, in place: their number, 0 at its end, or -errno. */
static ssize_t take(struct tar *t, uint64_t most, const uint8_t **piece)
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
		return truncated(t);
	if (n > most)
		n = (size_t)most;
	*piece = t->buffer + t->at;
	used(t, n);
	t->data_left -= n;
	return (ssize_t)n;
}

ssize_t tar_data(struct tar *t, const uint8_t **piece)
{
	return take(t, UINT64_MAX, piece);
}

static int skip(struct tar *t, uint64_t bytes)
{
	const uint8_t *piece;
	while (bytes) {
		ssize_t n = take(t, bytes, &piece);
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
	return skip(t, t->data_left);
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
		return bad(t, "an extended header of %llu bytes is too large", (unsigned long long)size);
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
static bool field_number(const uint8_t *f, size_t size, int64_t *out)
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

/* Decimal digits up to `stop`; *text is moved behind it. */
static bool decimal(const char **text, const char *end, char stop, uint64_t *out)
{
	const char *p = *text;
	uint64_t value = 0;
	if (p == end || *p < '0' || *p > '9')
		return false;
	for (; p < end && *p >= '0' && *p <= '9'; p++) {
		if (value > (INT64_MAX - 9) / 10)
			return false;
		value = value * 10 + (uint64_t)(*p - '0');
	}
	if (p < end && *p != stop)
		return false;
	*text = p < end ? p + 1 : p;
	*out = value;
	return true;
}

static bool whole_decimal(const char *text, size_t size, uint64_t *out)
{
	const char *end = text + size;
	return decimal(&text, end, 0, out) && text == end;
}

/* Seconds with an optional sign and fraction; digits beyond nanoseconds are cut. */
static bool pax_time(const char *text, size_t size, int64_t *seconds, uint32_t *ns)
{
	const char *end = text + size;
	bool negative = size && *text == '-';
	text += negative;
	uint64_t whole;
	uint32_t fraction = 0;
	if (!decimal(&text, end, '.', &whole))
		return false;
	for (uint32_t unit = 100000000; text < end; text++, unit /= 10) {
		if (*text < '0' || *text > '9')
			return false;
		fraction += unit * (uint32_t)(*text - '0');
	}
	*seconds = negative ? -(int64_t)whole : (int64_t)whole;
	if (negative && fraction) {
		*seconds -= 1;
		fraction = 1000000000 - fraction;
	}
	*ns = fraction;
	return true;
}

static bool id_of(int64_t value, uint32_t *out)
{
	/* -1 would tell chown(2) to leave the owner as it is. */
	if (value < 0 || value >= UINT32_MAX)
		return false;
	*out = (uint32_t)value;
	return true;
}

/* ---- sparse maps ---- */

static int add_extent(struct tar *t, uint64_t offset, uint64_t size)
{
	if (t->extent_count == t->extent_capacity) {
		if (t->extent_count == MAX_EXTENTS)
			return bad(t, "a sparse file with more than %d pieces", MAX_EXTENTS);
		size_t capacity = t->extent_capacity ? t->extent_capacity * 2 : 64;
		struct tar_extent *grown = realloc(t->extents, capacity * sizeof *grown);
		if (!grown)
			return -ENOMEM;
		t->extents = grown;
		t->extent_capacity = capacity;
	}
	t->extents[t->extent_count++] = (struct tar_extent){offset, size};
	return 0;
}

/* GNU.sparse.map: "offset,size,offset,size". */
static int sparse_map_0_1(struct tar *t, const char *text, size_t size)
{
	const char *end = text + size;
	while (text < end) {
		uint64_t offset, length;
		if (!decimal(&text, end, ',', &offset) || !decimal(&text, end, ',', &length))
			return bad(t, "the map of a sparse file is malformed");
		int error = add_extent(t, offset, length);
		if (error)
			return error;
	}
	return 0;
}

/* One line of the map that begins a sparse file's data in format 1.0. */
static int sparse_line(struct tar *t, uint64_t *out)
{
	char line[24];
	size_t n = 0;
	for (;;) {
		const uint8_t *piece;
		ssize_t got = take(t, 1, &piece);
		if (got < 0)
			return (int)got;
		if (got == 0 || n == sizeof line)
			return bad(t, "the map of a sparse file is malformed");
		if (*piece == '\n')
			break;
		line[n++] = (char)*piece;
	}
	return whole_decimal(line, n, out) ? 0 : bad(t, "the map of a sparse file is malformed");
}

static int sparse_map_1_0(struct tar *t)
{
	uint64_t before = t->data_left, count;
	int error = sparse_line(t, &count);
	for (uint64_t i = 0; !error && i < count; i++) {
		uint64_t offset, size;
		error = sparse_line(t, &offset);
		if (!error)
			error = sparse_line(t, &size);
		if (!error)
			error = add_extent(t, offset, size);
	}
	/* The map fills whole blocks. */
	return error ? error : skip(t, -(before - t->data_left) % BLOCK);
}

/* Old GNU format: four pieces in the header, 21 in each following block while the block says so. */
static int sparse_map_old(struct tar *t, const uint8_t *header)
{
	const uint8_t *from = header + 386;
	int64_t real;
	if (!field_number(header + 483, 12, &real) || real < 0)
		return bad(t, "the length of a sparse file is malformed");
	t->real_size = (uint64_t)real;
	t->sparse = true;
	for (size_t slots = 4;; slots = 21) {
		bool more = from[slots * 24] != 0;
		for (size_t i = 0; i < slots && from[i * 24] != 0; i++) {
			int64_t offset, size;
			if (!field_number(from + i * 24, 12, &offset) || !field_number(from + i * 24 + 12, 12, &size) || offset < 0 || size < 0)
				return bad(t, "the map of a sparse file is malformed");
			int error = add_extent(t, (uint64_t)offset, (uint64_t)size);
			if (error)
				return error;
		}
		if (!more)
			return 0;
		int error;
		from = block(t, &error);
		if (!from)
			return error ? error : truncated(t);
	}
}

static int check_extents(struct tar *t)
{
	uint64_t end = 0, data = 0;
	for (size_t i = 0; i < t->extent_count; i++) {
		const struct tar_extent *e = &t->extents[i];
		if (e->offset < end || e->size > t->real_size || e->offset > t->real_size - e->size)
			return bad(t, "the pieces of a sparse file overlap or lie outside of it");
		end = e->offset + e->size;
		data += e->size;
	}
	return data == t->data_left ? 0 : bad(t, "the pieces of a sparse file don't add up to its data");
}

/* ---- extended headers ---- */

static int pax_sparse(struct tar *t, const char *key, const char *value, size_t size, uint64_t number, bool is_number)
{
	if (!strcmp(key, "map")) {
		t->sparse = true;
		return sparse_map_0_1(t, value, size);
	}
	if (!strcmp(key, "name"))
		return 0; /* taken by pax_record */
	if (!is_number)
		return bad(t, "GNU.sparse.%.20s is not a number", key);
	if (!strcmp(key, "size") || !strcmp(key, "realsize")) {
		t->real_size = number;
		t->sparse = true;
	} else if (!strcmp(key, "major")) {
		t->sparse_1 = number == 1;
		if (number > 1)
			return bad(t, "sparse format %llu is unknown", (unsigned long long)number);
	} else if (!strcmp(key, "offset")) {
		if (t->half_extent)
			return bad(t, "the map of a sparse file is malformed");
		t->half_extent = true;
		return add_extent(t, number, 0);
	} else if (!strcmp(key, "numbytes")) {
		if (!t->half_extent)
			return bad(t, "the map of a sparse file is malformed");
		t->half_extent = false;
		t->extents[t->extent_count - 1].size = number;
	}
	return 0;
}

static int pax_xattr(struct tar *t, const char *name, const char *value, size_t size)
{
	if (!t->xattrs && !(t->xattrs = calloc(MAX_XATTRS, sizeof *t->xattrs)))
		return -ENOMEM;
	size_t i = 0;
	while (i < t->xattr_count && strcmp(t->xattrs[i].name, name) != 0)
		i++;
	if (i == MAX_XATTRS)
		return bad(t, "more than %d extended attributes", MAX_XATTRS);
	if (i == t->xattr_count)
		t->xattr_count++;
	t->xattrs[i] = (struct tar_xattr){name, value, size};
	return 0;
}

/* One record. `key` and `value` end with a NUL; an empty value takes an earlier record back. */
static int pax_record(struct tar *t, struct tar_entry *e, const char *key, const char *value, size_t size)
{
	static const char sparse[] = "GNU.sparse.", xattr[] = "SCHILY.xattr.";
	uint64_t number = 0;
	bool is_number = whole_decimal(value, size, &number);
	bool sparse_name = !strcmp(key, "GNU.sparse.name"), is_path = sparse_name || !strcmp(key, "path");
	if (!strncmp(key, xattr, sizeof xattr - 1))
		return pax_xattr(t, key + sizeof xattr - 1, value, size);
	if (size == 0)
		return 0;
	if (is_path || !strcmp(key, "linkpath")) {
		if (memchr(value, 0, size))
			return bad(t, "a name with a NUL in it: %.60s", value);
		/* Beside a GNU.sparse.name, `path` is a stand-in for readers that don't know it. */
		if (sparse_name || !is_path || !t->sparse_name)
			*(is_path ? &e->path : &e->link) = value;
		t->sparse_name |= sparse_name;
		return 0;
	}
	if (!strncmp(key, sparse, sizeof sparse - 1))
		return pax_sparse(t, key + sizeof sparse - 1, value, size, number, is_number);
	if (!strcmp(key, "size")) {
		if (!is_number)
			return bad(t, "a size that is not a number: %.20s", value);
		t->has_size = true;
		t->pax_size = number;
	} else if (!strcmp(key, "uid") || !strcmp(key, "gid")) {
		if (!is_number || !id_of((int64_t)number, key[0] == 'u' ? &e->uid : &e->gid))
			return bad(t, "%s %.20s is out of range", key, value);
	} else if (!strcmp(key, "mtime")) {
		if (!pax_time(value, size, &e->mtime, &e->mtime_ns))
			return bad(t, "a time that is not a number: %.40s", value);
	}
	return 0;
}

/* "length key=value\n", the length in bytes and including itself. Puts NULs behind keys and values. */
static int pax_records(struct tar *t, struct tar_entry *e, struct bytes *records)
{
	char *at = records->data, *end = at + records->size;
	while (at < end) {
		const char *text = at;
		uint64_t length;
		size_t limit = (size_t)(end - at);
		if (!decimal(&text, at + (limit > 20 ? 20 : limit), ' ', &length) || length > limit || text >= at + length ||
		    at[length - 1] != '\n')
			return bad(t, "an extended header is malformed");
		char *key = at + (text - at), *stop = at + length - 1;
		char *equals = memchr(key, '=', (size_t)(stop - key));
		if (!equals || equals == key || memchr(key, 0, (size_t)(equals - key)))
			return bad(t, "an extended header is malformed");
		*equals = *stop = 0;
		int error = pax_record(t, e, key, equals + 1, (size_t)(stop - equals - 1));
		if (error)
			return error;
		at += length;
	}
	return t->half_extent ? bad(t, "the map of a sparse file is malformed") : 0;
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
	return field_number(h + 148, 8, &want) && (want == plain || want == as_signed);
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
	if (!field_number(h + 100, 8, &mode) || !field_number(h + 108, 8, &uid) || !field_number(h + 116, 8, &gid) ||
	    !field_number(h + 136, 12, &e->mtime))
		return bad(t, "mode, owner or time in the header before byte %llu is not a number", (unsigned long long)t->offset);
	bool device = h[156] == TAR_CHAR || h[156] == TAR_BLOCK;
	if (layout != V7 && device && (!field_number(h + 329, 8, &major) || !field_number(h + 337, 8, &minor)))
		return bad(t, "the numbers of a device are malformed");
	e->mode = (uint32_t)(mode & 07777);
	e->mtime_ns = 0;
	size_t prefix = layout == USTAR ? strnlen((const char *)h + 345, 155) : layout == STAR ? strnlen((const char *)h + 345, 131) : 0;
	snprintf(t->name, sizeof t->name, "%.*s%s%.100s", (int)prefix, (const char *)h + 345, prefix ? "/" : "", (const char *)h);
	snprintf(t->link, sizeof t->link, "%.100s", (const char *)h + 157);
	e->path = t->name;
	e->link = t->link;
	if (!id_of(uid, &e->uid) || !id_of(gid, &e->gid) || !id_of(major, &e->major) || !id_of(minor, &e->minor))
		return bad(t, "%.80s: owner or device number is out of range", t->name);
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
		error = layout == GNU ? sparse_map_old(t, h) : bad(t, "%.80s: a sparse file in an unknown format", t->name);
	if (!error && t->global.size) {
		t->global_copy.size = 0;
		error = append(t, &t->global_copy, t->global.data, t->global.size);
		if (!error)
			error = pax_records(t, e, &t->global_copy);
	}
	if (!error && t->meta.size)
		error = pax_records(t, e, &t->meta);
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
		return bad(t, "%.80s: type %d of an entry is unknown", e->path, h[156]);
	}
	if (t->has_size)
		size = t->pax_size;
	expect_data(t, e->type == TAR_FILE ? size : 0);
	e->size = t->data_left;
	if (t->sparse && e->type == TAR_FILE) {
		error = t->sparse_1 ? sparse_map_1_0(t) : 0;
		if (!error)
			error = check_extents(t);
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
	const uint8_t *h = block(t, &error);
	if (!h)
		return error;
	if (is_zero(h)) {
		h = block(t, &error);
		if (!h || is_zero(h))
			return error;
		return bad(t, "data after a lone block of zeros at byte %llu", (unsigned long long)at);
	}
	int64_t number;
	if (!checksum_fits(h))
		return bad(t, at ? "the header at byte %llu has a wrong checksum" : "not a tar archive", (unsigned long long)at);
	if (!field_number(h + 124, 12, &number) || number < 0 || number > INT64_MAX - BLOCK)
		return bad(t, "the size in the header at byte %llu is malformed", (unsigned long long)at);
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
