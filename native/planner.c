/*
 * Finding and starting the planner. One serves each user, mount namespace and build: it reads files as the caller would. The caller makes the
 * socket and the planner inherits it listening, so that a call waits in its queue while Node starts, and a lock makes two callers start one.
 */
#include "front.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LOCK_DEADLINE_MS = 10000 };

int planner_home(char *into, size_t size)
{
	ssize_t n = readlink("/proc/self/exe", into, size - 1);
	if (n < 0)
		return -errno;
	into[n] = 0;
	for (int up = 0; up < 3; up++) { /* native/build/keel */
		char *slash = strrchr(into, '/');
		if (!slash)
			return -ENOENT;
		*slash = 0;
	}
	return 0;
}

/* What a path names, wherever it lies: inode numbers of namespaces are unique, those of directories are with their device's. */
static unsigned long long identity(const char *path)
{
	struct stat status;
	return stat(path, &status) < 0 ? 0 : (unsigned long long)status.st_ino ^ (unsigned long long)status.st_dev << 44;
}

/*
 * Opens a directory of our own that nobody else may look into. What is in it is then named through the descriptor: whoever can put another
 * directory in its place comes too late.
 */
static int private_directory(const char *path)
{
	struct stat status;
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return -errno;
	int fd = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), error = 0;
	if (fd < 0)
		return errno == ENOTDIR || errno == ELOOP ? -EPERM : -errno;
	if (fstat(fd, &status) < 0)
		error = -errno;
	else if (status.st_uid != geteuid() || (status.st_mode & 077))
		error = -EPERM;
	else if (faccessat(fd, ".", W_OK, 0) < 0)
		error = -errno;
	if (!error)
		return fd;
	close(fd);
	return error;
}

/* PARENT/keelson/planner. */
static int directory_below(const char *parent, mode_t mode, char *into, size_t size)
{
	if (snprintf(into, size, "%s/keelson", parent) >= (int)size - 8)
		return -ENAMETOOLONG;
	if (mkdir(into, mode) < 0 && errno != EEXIST)
		return -errno;
	strcat(into, "/planner");
	return private_directory(into);
}

/* /run/keelson/planner, or beneath the user's runtime directory; /tmp where there is none. A descriptor or -errno. */
static int base_directory(char *into, size_t size)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	int fd = geteuid() == 0 ? directory_below("/run", 0711, into, size) : -ENOENT;
	if (fd < 0 && runtime && runtime[0] == '/')
		fd = directory_below(runtime, 0700, into, size);
	if (fd >= 0)
		return fd;
	snprintf(into, size, "/tmp/keelson-planner-%u", geteuid());
	return private_directory(into);
}

static int open_socket(const char *path, struct sockaddr_un *address)
{
	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof address->sun_path)
		return -ENAMETOOLONG;
	strcpy(address->sun_path, path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

static int try_connect(const char *path)
{
	struct sockaddr_un address;
	struct ucred peer;
	socklen_t size = sizeof peer;
	int fd = open_socket(path, &address);
	if (fd < 0)
		return fd;
	int error = 0;
	if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
		error = -errno;
	else if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		error = -errno;
	else if (peer.uid != geteuid())
		error = -EPERM;
	if (!error)
		return fd;
	close(fd);
	return error;
}

/* The checkout's own Node, the one beside an installed package, or that of the PATH. */
static void find_node(const char *home, char *into, size_t size)
{
	static const char arch[] =
#if defined(__x86_64__)
		"x64";
#else
		"arm64";
#endif
	static const char *const places[] = {"%s/node_modules/node-linux-%s/bin/node", "%s/../node-linux-%s/bin/node"};
	for (size_t i = 0; i < 2; i++) {
		snprintf(into, size, i == 0 ? places[0] : places[1], home, arch);
		if (access(into, X_OK) == 0)
			return;
	}
	const char *path = getenv("PATH");
	char copy[8192];
	snprintf(copy, sizeof copy, "%s:/usr/local/bin:/usr/bin:/bin", path ? path : "");
	for (char *directory = strtok(copy, ":"); directory; directory = strtok(NULL, ":")) {
		if (directory[0] != '/')
			continue;
		snprintf(into, size, "%s/node", directory);
		if (access(into, X_OK) == 0)
			return;
	}
	into[0] = 0;
}

/* In a grandchild: nothing of the caller's is left but the listening socket as descriptor 3. */
_Noreturn static void become_planner(const char *node, const char *script, const char *path, int listener)
{
	sigset_t none;
	setsid();
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	umask(022);
	int null = open("/dev/null", O_RDWR);
	if (chdir("/") < 0 || null < 0)
		_exit(1);
	int from = fcntl(listener, F_DUPFD, 4);
	for (int fd = 0; fd < 3; fd++)
		dup2(null, fd);
	dup2(from, 3);
	close_range(4, ~0U, 0);
	char *argv[] = {(char *)(uintptr_t)node, "--disable-warning=ExperimentalWarning", "--max-semi-space-size=1", "--initial-old-space-size=14",
			"--max-old-space-size=256", "--no-parallel-scavenge", "--expose-gc", (char *)(uintptr_t)script, (char *)(uintptr_t)path, NULL};
	char cache[4200];
	snprintf(cache, sizeof cache, "NODE_COMPILE_CACHE=%.*s/.compile-cache", (int)(strrchr(script, '/') - script), script);
	char *env[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "MALLOC_ARENA_MAX=1", cache, NULL};
	execve(node, argv, env);
	_exit(1);
}

/* `path` names the socket through its directory's descriptor, `full` to those who come later. */
static int start(const char *home, const char *path, const char *full, char *text, size_t text_size)
{
	char node[4096], script[4096];
	struct sockaddr_un address;
	find_node(home, node, sizeof node);
	snprintf(script, sizeof script, "%s/dist/planner.mjs", home);
	if (!node[0] || access(script, R_OK) < 0) {
		snprintf(text, text_size, node[0] ? "there is no planner at %s (npm run build makes it)" : "no Node was found to run %s", script);
		return -ENOENT;
	}
	int fd = open_socket(path, &address);
	if (fd < 0)
		return fd;
	unlink(path);
	mode_t mask = umask(0177);
	int error = bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 1024) < 0 ? -errno : 0;
	umask(mask);
	pid_t pid = error ? -1 : fork();
	if (pid == 0) {
		if (fork() == 0)
			become_planner(node, script, full, fd);
		_exit(0);
	}
	if (!error && pid < 0)
		error = -errno;
	if (error)
		snprintf(text, text_size, "starting the planner %s", script);
	close(fd);
	if (pid > 0)
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
	return error;
}

/* 0 when it is ours; waits for another caller that starts the planner. */
static int take_lock(int fd)
{
	for (int waited = 0; waited < LOCK_DEADLINE_MS; waited += 5) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return 0;
		if (errno != EWOULDBLOCK && errno != EINTR)
			return -errno;
		nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
	}
	return -ETIMEDOUT;
}

int planner_connect(const char *home, char *text, size_t text_size)
{
	char base[3000], name[128], path[160], full[3200], script[4096];
	struct stat build = {0};
	int directory = base_directory(base, sizeof base);
	if (directory < 0) {
		snprintf(text, text_size, "using %s for the planner's socket: it must be a directory of this user's own, with mode 0700", base);
		return directory;
	}
	snprintf(script, sizeof script, "%s/dist/planner.mjs", home);
	stat(script, &build);
	snprintf(name, sizeof name, "%llx-%llx-%llx-%llx-%llx", identity("/proc/self/ns/mnt"), identity("/proc/self/ns/user"), identity("/proc/self/root"),
		 (unsigned long long)build.st_ino, (unsigned long long)build.st_mtim.tv_sec * 1000 + (unsigned long long)build.st_mtim.tv_nsec / 1000000);
	snprintf(path, sizeof path, "/proc/self/fd/%d/%s", directory, name);
	snprintf(full, sizeof full, "%s/%s", base, name);
	snprintf(text, text_size, "connecting to the planner at %s", full);
	int fd = try_connect(path), guard = -1, error = 0;
	if (fd != -ENOENT && fd != -ECONNREFUSED)
		goto done;
	guard = openat(directory, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (guard < 0 || (error = take_lock(guard))) {
		snprintf(text, text_size, "taking the lock %s/lock", base);
		fd = guard < 0 ? -errno : error;
		goto done;
	}
	fd = try_connect(path);
	if (fd == -ENOENT || fd == -ECONNREFUSED) {
		error = start(home, path, full, text, text_size);
		fd = error ? error : try_connect(path);
	}
done:
	if (guard >= 0)
		close(guard);
	close(directory);
	return fd;
}
