import { machineTest } from './machine-test.ts';

machineTest('on a machine of systemd’s with cgroup v2', 'systemd');
machineTest('on a machine of systemd’s with cgroup v1 and v2', 'systemd-hybrid');
