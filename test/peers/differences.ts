/** Where a runtime is known to give something else than the others, and why. */
export interface Difference {
  readonly runtimes: readonly string[];
  /** `PEER: TASK`. */
  readonly tasks: RegExp;
  /** Only when it looks like this. */
  readonly seen?: RegExp;
  readonly reason: string;
}

export const differences: readonly Difference[] = [
  {
    runtimes: ['crun'],
    tasks: /^(docker|containerd): (errors|exec): (no such executable|not executable|a directory)/,
    reason: 'crun words its messages so that docker does not find in them what it makes the exit codes 126 and 127 of',
  },
  {
    runtimes: ['runc', 'crun'],
    tasks: /^docker: /,
    seen: /(capset|unable to apply caps): operation not permitted/i,
    reason:
      'docker 20.10 asks for every capability with `--privileged`; where the machine itself lacks one (here CAP_SYS_RESOURCE), runc and crun fail, and keelson-oci gives what there is, with a warning',
  },
  {
    runtimes: ['runc'],
    tasks: /^podman: run: no cgroup of its own/,
    reason: "podman calls `--cgroup-manager=disabled`, which is crun's; keelson-oci knows it",
  },
  {
    runtimes: ['runc', 'crun', 'keelson-oci'],
    tasks: /^containerd: run: user/,
    seen: /flag provided but not defined: -user/,
    reason: '`ctr run` of containerd 1.6 has no `--user`',
  },
  {
    runtimes: ['runc', 'crun', 'keelson-oci'],
    tasks: /^docker: exec: no such executable/,
    seen: /^126: /,
    reason: 'docker 20.10 answers 126 to every exec that cannot be started',
  },
  { runtimes: ['runc'], tasks: /^podman: run: personality/, reason: 'runc 1.1 does not know personalities' },
  {
    runtimes: ['runc'],
    tasks: /^podman: user namespace: volume with mapped IDs/,
    reason: 'runc 1.1 does not know idmapped mounts, and mounts the volume without',
  },
  {
    runtimes: ['runc', 'crun', 'keelson-oci'],
    tasks: /^podman: user namespace: /,
    seen: /Unmounting .*invalid argument/,
    reason: 'podman 4.3 cannot mount an image for this map on a file system in memory; the runtime is not called',
  },
  {
    runtimes: ['runc', 'crun', 'keelson-oci'],
    tasks: /^podman: limits: out of memory is told/,
    seen: /^exited 137 false$/,
    reason: 'it is conmon that watches, and 2.1.6 misses the event now and then on cgroup v1, whoever the runtime is',
  },
];
