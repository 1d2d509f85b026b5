/* Extended headers of tar archives, and the maps of sparse files. */
#include "tar-inside.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

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

/* ---- sparse maps ---- */

static int add_extent(struct tar *t, uint64_t offset, uint64_t size)
{
	if (t->extent_count == t->extent_capacity) {
		if (t->extent_count == MAX_EXTENTS)
			return tar_bad(t, "a sparse file with more than %d pieces", MAX_EXTENTS);
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
			return tar_bad(t, "the map of a sparse file is malformed");
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
		ssize_t got = tar_take(t, 1, &piece);
		if (got < 0)
			return (int)got;
		if (got == 0 || n == sizeof line)
			return tar_bad(t, "the map of a sparse file is malformed");
		if (*piece == '\n')
			break;
		line[n++] = (char)*piece;
	}
	return whole_decimal(line, n, out) ? 0 : tar_bad(t, "the map of a sparse file is malformed");
}

int tar_sparse_map_1_0(struct tar *t)
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
	return error ? error : tar_skip(t, -(before - t->data_left) % BLOCK);
}

/* Old GNU format: four pieces in the header, 21 in each following block while the block says so. */
int tar_sparse_map_old(struct tar *t, const uint8_t *header)
{
	const uint8_t *from = header + 386;
	int64_t real;
	if (!tar_field_number(header + 483, 12, &real) || real < 0)
		return tar_bad(t, "the length of a sparse file is malformed");
	t->real_size = (uint64_t)real;
	t->sparse = true;
	for (size_t slots = 4;; slots = 21) {
		bool more = from[slots * 24] != 0;
		for (size_t i = 0; i < slots && from[i * 24] != 0; i++) {
			int64_t offset, size;
			if (!tar_field_number(from + i * 24, 12, &offset) || !tar_field_number(from + i * 24 + 12, 12, &size) || offset < 0 || size < 0)
				return tar_bad(t, "the map of a sparse file is malformed");
			int error = add_extent(t, (uint64_t)offset, (uint64_t)size);
			if (error)
				return error;
		}
		if (!more)
			return 0;
		int error;
		from = tar_block(t, &error);
		if (!from)
			return error ? error : tar_truncated(t);
	}
}

int tar_check_extents(struct tar *t)
{
	uint64_t end = 0, data = 0;
	for (size_t i = 0; i < t->extent_count; i++) {
		const struct tar_extent *e = &t->extents[i];
		if (e->offset < end || e->size > t->real_size || e->offset > t->real_size - e->size)
			return tar_bad(t, "the pieces of a sparse file overlap or lie outside of it");
		end = e->offset + e->size;
		data += e->size;
	}
	return data == t->data_left ? 0 : tar_bad(t, "the pieces of a sparse file don't add up to its data");
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
		return tar_bad(t, "GNU.sparse.%.20s is not a number", key);
	if (!strcmp(key, "size") || !strcmp(key, "realsize")) {
		t->real_size = number;
		t->sparse = true;
	} else if (!strcmp(key, "major")) {
		t->sparse_1 = number == 1;
		if (number > 1)
			return tar_bad(t, "sparse format %llu is unknown", (unsigned long long)number);
	} else if (!strcmp(key, "offset")) {
		if (t->half_extent)
			return tar_bad(t, "the map of a sparse file is malformed");
		t->half_extent = true;
		return add_extent(t, number, 0);
	} else if (!strcmp(key, "numbytes")) {
		if (!t->half_extent)
			return tar_bad(t, "the map of a sparse file is malformed");
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
		return tar_bad(t, "more than %d extended attributes", MAX_XATTRS);
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
			return tar_bad(t, "a name with a NUL in it: %.60s", value);
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
			return tar_bad(t, "a size that is not a number: %.20s", value);
		t->has_size = true;
		t->pax_size = number;
	} else if (!strcmp(key, "uid") || !strcmp(key, "gid")) {
		if (!is_number || !tar_id_of((int64_t)number, key[0] == 'u' ? &e->uid : &e->gid))
			return tar_bad(t, "%s %.20s is out of range", key, value);
	} else if (!strcmp(key, "mtime")) {
		if (!pax_time(value, size, &e->mtime, &e->mtime_ns))
			return tar_bad(t, "a time that is not a number: %.40s", value);
	}
	return 0;
}

/* "length key=value\n", the length in bytes and including itself. Puts NULs behind keys and values. */
int tar_extend(struct tar *t, struct tar_entry *e, struct bytes *records)
{
	char *at = records->data, *end = at + records->size;
	while (at < end) {
		const char *text = at;
		uint64_t length;
		size_t limit = (size_t)(end - at);
		if (!decimal(&text, at + (limit > 20 ? 20 : limit), ' ', &length) || length > limit || text >= at + length ||
		    at[length - 1] != '\n')
			return tar_bad(t, "an extended header is malformed");
		char *key = at + (text - at), *stop = at + length - 1;
		char *equals = memchr(key, '=', (size_t)(stop - key));
		if (!equals || equals == key || memchr(key, 0, (size_t)(equals - key)))
			return tar_bad(t, "an extended header is malformed");
		*equals = *stop = 0;
		int error = pax_record(t, e, key, equals + 1, (size_t)(stop - equals - 1));
		if (error)
			return error;
		at += length;
	}
	return t->half_extent ? tar_bad(t, "the map of a sparse file is malformed") : 0;
}
