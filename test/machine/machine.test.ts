import { machineTest } from './machine-test.ts';

machineTest('on a machine with cgroup v2', 'plain');
