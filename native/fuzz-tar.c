/*
 * Reads hostile archives: never a crash, never memory out of proportion, and what is told of an entry holds: names without NULs that end,
 * pieces of sparse files in order and adding up. The first byte says in how large pieces the reader gets the rest.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz-tar.h"
#include "tar.h"

struct source {
	const uint8_t *at, *end;
	size_t most;
};

static ssize_t read_source(void *context, void *buffer, size_t size)
{
	struct source *s = context;
	size_t left = (size_t)(s->end - s->at);
	size_t n = size < s->most ? size : s->most;
	n = n < left ? n : left;
	if (n)
		memcpy(buffer, s->at, n);
	s->at += n;
	return (ssize_t)n;
}

static void check(bool holds)
{
	if (!holds)
		abort();
}

static uint64_t check_entry(const struct tar_entry *e)
{
	uint64_t end = 0, data = 0;
	size_t length = strlen(e->path) + strlen(e->link);
	check(e->mode <= 07777 && e->mtime_ns < 1000000000 && e->uid != UINT32_MAX && e->gid != UINT32_MAX);
	check(e->type >= TAR_FILE && e->type <= TAR_FIFO);
	for (size_t i = 0; i < e->xattr_count; i++) {
		const uint8_t *value = e->xattrs[i].value;
		length += strlen(e->xattrs[i].name);
		for (size_t b = 0; b < e->xattrs[i].size; b++)
			length += value[b];
	}
	for (size_t i = 0; e->sparse && i < e->extent_count; i++) {
		check(e->extents[i].offset >= end);
		end = e->extents[i].offset + e->extents[i].size;
		check(end >= e->extents[i].offset && end <= e->size);
		data += e->extents[i].size;
	}
	check(length < (4 << 20) * 256ull);
	return e->sparse ? data : e->size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const size_t pieces[] = {1, 7, 512, 1000, 4096};
	struct tar_entry entry;
	const uint8_t *piece;
	if (size == 0)
		return 0;
	struct source source = {data + 1, data + size, pieces[data[0] % 5]};
	struct tar *tar = tar_open(read_source, &source);
	int result;
	while ((result = tar_next(tar, &entry)) == 1) {
		uint64_t told = check_entry(&entry), got = 0;
		ssize_t n = 0;
		/* Some entries' data are left to be skipped. */
		while (entry.mode % 3 && (n = tar_data(tar, &piece)) > 0)
			got += (uint64_t)n + 0 * piece[n - 1];
		check(n < 0 || entry.mode % 3 == 0 || got == told);
		if (n < 0)
			break;
	}
	check(result >= 0 || tar_message(tar)[0]);
	if (result == 0)
		check(tar_drain(tar) == 0 && tar_consumed(tar) == size - 1);
	tar_close(tar);
	return 0;
}
