// Runs the tests in Debian's Chromium, and those of the client also in its Firefox, in parallel: each test
// starts its own hubs.
import { defineConfig } from '@playwright/test';

const chromium = {
  name: 'chromium',
  use: {
    browserName: 'chromium',
    launchOptions: {
      executablePath: '/usr/bin/chromium',
      args: [
        '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-sync',
        '--disable-background-networking', '--disable-component-update',
      ],
    },
  },
};

// Playwright 1.65 cannot start a Firefox that is not its own.
const firefox = {
  name: 'firefox',
  testMatch: /\/(client|credentials|eventsource|sharing|streams)\.spec\.js$/,
  use: { browserName: 'firefox', channel: 'moz-firefox', launchOptions: { executablePath: '/usr/bin/firefox-esr' } },
};

export default defineConfig({
  testDir: '.',
  testMatch: '*.spec.js',
  // Prevents the use of a configuration in a parent folder.
  tsconfig: './tsconfig.json',
  outputDir: '../../target/browser',
  // More workers than cores, because tests mostly wait.
  workers: 4,
  fullyParallel: true,
  // `tests/run` names the tests that passed only when repeated.
  retries: process.env.CI ? 1 : 0,
  timeout: 300_000,
  // Tests check that something happens, not how soon: the machine may be busy.
  expect: { timeout: 120_000 },
  forbidOnly: !!process.env.CI,
  reporter: [['line'], ['json', { outputFile: '../../target/browser.json' }]],
  projects: [chromium, firefox],
});
