// Debian's Chromium, one test after the other: each starts hubs of its own.
import { defineConfig } from '@playwright/test';

export default defineConfig({
  testDir: '.',
  testMatch: '*.spec.js',
  // None of a folder above.
  tsconfig: './tsconfig.json',
  outputDir: '../../target/browser',
  workers: 1,
  timeout: 90_000,
  // That a thing happens at all is asked, not how soon: a machine may be busy with others.
  expect: { timeout: 20_000 },
  forbidOnly: !!process.env.CI,
  reporter: 'line',
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
