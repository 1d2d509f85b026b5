import { capabilityNames } from '../../../kernel/capabilities.ts';
import { mountOptionWords } from '../../../kernel/mount-flags.ts';
import {
  memoryPolicyFlags,
  memoryPolicyModes,
  namespaceTypes,
  seccompActions,
  seccompFlags,
  seccompOperators,
} from '../../../spec/runtime.ts';
import type { Command } from '../session.ts';
import { specVersion } from '../texts.ts';
import { release } from '../version.ts';

/** The document of runtime-spec's features.md. */
export const features: Command = {
  flags: {},
  async run({ call, host }) {
    const { facts } = host;
    const known = ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86', 'SCMP_ARCH_X32', 'SCMP_ARCH_AARCH64', 'SCMP_ARCH_ARM'];
    const document = {
      ociVersionMin: '1.0.0',
      ociVersionMax: specVersion,
      hooks: ['prestart', 'createRuntime', 'createContainer', 'startContainer', 'poststart', 'poststop'],
      mountOptions: mountOptionWords,
      linux: {
        namespaces: [...namespaceTypes].sort(),
        capabilities: capabilityNames.slice(0, facts.lastCapability + 1),
        cgroup: { v1: true, v2: true, systemd: true, systemdUser: true, rdma: true },
        seccomp: {
          enabled: facts.seccompActions.length > 0,
          actions: seccompActions,
          operators: seccompOperators,
          archs: known,
          knownFlags: seccompFlags,
          // On any profile: SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV is for those that notify.
          supportedFlags: seccompFlags.filter((flag) => flag !== 'SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV'),
        },
        apparmor: { enabled: true },
        selinux: { enabled: true },
        intelRdt: { enabled: true, schemata: true, monitoring: true },
        memoryPolicy: { modes: memoryPolicyModes, flags: memoryPolicyFlags },
        mountExtensions: { idmap: { enabled: true } },
        netDevices: { enabled: true },
      },
      annotations: { 'io.github.keelson.version': release },
      potentiallyUnsafeConfigAnnotations: [],
    };
    call.stdout(`${JSON.stringify(document, null, 2)}\n`);
    return 0;
  },
};
