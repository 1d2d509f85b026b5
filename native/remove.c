#include "remove.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
	MAX_PASSES = 1 << 16, /* over a directory that others fill */
	DIR_FLAGS = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
};

/* Takes everything out of `from`: directories that aren't empty are moved to `to`, the rest is removed. 0 or -errno. */
static int clear_into(int from, int to, uint64_t *moved, bool *progress)
{
	int copy = openat(from, ".", DIR_FLAGS), error = 0;
	DIR *list = copy < 0 ? NULL : fdopendir(copy);
	if (!list) {
		error = errno;
		if (copy >= 0)
			close(copy);
		return -error;
	}
	for (struct dirent *e; !error && (e = readdir(list));) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (unlinkat(from, e->d_name, 0) == 0 || unlinkat(from, e->d_name, AT_REMOVEDIR) == 0) {
			*progress = true;
		} else if (errno != ENOTEMPTY && errno != EEXIST && errno != ENOENT) {
			error = errno;
		} else if (errno != ENOENT && from != to) {
			/* Whatever this replaces is about to be removed as well. */
			char name[40];
			for (int i = 0; i < 8; i++) {
				snprintf(name, sizeof name, ".keel-remove-%llu", (unsigned long long)(*moved)++);
				error = renameat(from, e->d_name, to, name) < 0 ? errno : 0;
				if (error != ENOTEMPTY && error != EEXIST && error != ENOTDIR)
					break;
			}
			*progress = true;
		} else if (errno != ENOENT) {
			int sub = openat(from, e->d_name, DIR_FLAGS);
			error = sub < 0 ? errno : -clear_into(sub, to, moved, progress);
			if (sub >= 0)
				close(sub);
		}
	}
	closedir(list);
	return -error;
}

/*
 * Removes everything in a directory with three descriptors and no deep recursion, however deep the tree: the children of each
 * subdirectory are moved up before it is removed, so every directory is moved once.
 */
int remove_content(int directory)
{
	uint64_t moved = 0;
	bool progress = true;
	for (int pass = 0; progress; pass++) {
		if (pass == MAX_PASSES)
			return -EBUSY;
		progress = false;
		int error = clear_into(directory, directory, &moved, &progress);
		if (error)
			return error;
	}
	return 0;
}

int remove_at(int parent, const char *name)
{
	if (unlinkat(parent, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	int directory = openat(parent, name, DIR_FLAGS);
	if (directory < 0)
		return -errno;
	int error = remove_content(directory);
	close(directory);
	return error ? error : unlinkat(parent, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}
