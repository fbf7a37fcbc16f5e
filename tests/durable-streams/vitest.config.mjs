export default {
  test: {
    // A wait for a condition that never comes true ends here.
    testTimeout: 180_000,
    hookTimeout: 120_000,
    reporters: ['dot'],
    // Some tests of the conformance suite give a server two seconds, however slow the machine is.
    retry: 2,
  },
};
