export default {
  test: {
    // A wait for a condition that never comes true ends here.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    reporters: ['dot'],
  },
};
