import { cgroupSuite } from '../support/cgroup-suite.ts';

cgroupSuite();
