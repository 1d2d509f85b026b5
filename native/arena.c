#include "plan.h"

#include <stdlib.h>
#include <sys/mman.h>

struct arena_block {
	struct arena_block *next;
	size_t size, used;
};

enum { BLOCK_SIZE = 256 << 10, HEADER = 32 };

#if defined(__SANITIZE_ADDRESS__)
#define ONE_EACH 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ONE_EACH 1
#endif
#endif

#ifdef ONE_EACH
/* Under the sanitizer every allocation is one of its own, so that it sees where each ends. */
void *arena_alloc(struct arena *arena, size_t size)
{
	struct arena_block *block = calloc(1, HEADER + size);
	if (!block)
		return NULL;
	block->next = arena->blocks;
	arena->blocks = block;
	return (uint8_t *)block + HEADER;
}

void arena_free(struct arena *arena)
{
	while (arena->blocks) {
		struct arena_block *next = arena->blocks->next;
		free(arena->blocks);
		arena->blocks = next;
	}
}
#else
/* Blocks straight from mmap: what a plan needed goes back to the kernel whole when a keeper is done with it. */
void *arena_alloc(struct arena *arena, size_t size)
{
	struct arena_block *block = arena->blocks;
	size = (size + 15) & ~(size_t)15;
	if (!block || block->size - block->used < size) {
		size_t whole = size + HEADER > BLOCK_SIZE ? (size + HEADER + 4095) & ~(size_t)4095 : BLOCK_SIZE;
		block = mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (block == MAP_FAILED)
			return NULL;
		block->size = whole;
		block->used = HEADER;
		block->next = arena->blocks;
		arena->blocks = block;
	}
	void *at = (uint8_t *)block + block->used;
	block->used += size;
	return at;
}

void arena_free(struct arena *arena)
{
	while (arena->blocks) {
		struct arena_block *next = arena->blocks->next;
		munmap(arena->blocks, arena->blocks->size);
		arena->blocks = next;
	}
}
#endif
