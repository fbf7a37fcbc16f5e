// Debian's Chromium. Tests run in parallel: each starts hubs of its own.
import { defineConfig } from '@playwright/test';

export default defineConfig({
  testDir: '.',
  testMatch: '*.spec.js',
  // None of a folder above.
  tsconfig: './tsconfig.json',
  outputDir: '../../target/browser',
  // More than cores: tests mostly wait.
  workers: 4,
  fullyParallel: true,
  // `tests/run` names the tests that passed only when repeated.
  retries: process.env.CI ? 1 : 0,
  timeout: 90_000,
  // That a thing happens at all is asked, not how soon: a machine may be busy with others.
  expect: { timeout: 20_000 },
  forbidOnly: !!process.env.CI,
  reporter: [['line'], ['json', { outputFile: '../../target/browser.json' }]],
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
});
