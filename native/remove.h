/* Removing trees of any depth, by descriptors: no name is looked up from a root, no link followed. */
#ifndef KEEL_REMOVE_H
#define KEEL_REMOVE_H

/* Whatever `name` in the open directory is, with all that is in it. 0, also when there was nothing, or -errno. */
int remove_at(int parent, const char *name);

/* All that is in an open directory. 0 or -errno. */
int remove_content(int directory);

#endif
