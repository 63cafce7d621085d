module.exports = {
  testEnvironment: 'jsdom',
  testMatch: ['<rootDir>/src/__tests__/*.spec.ts?(x)'],
  setupFiles: ['<rootDir>/src/__tests__/setup.ts'],
  transform: { '\\.[jt]sx?$': '@swc/jest' },
  // JupyterLab's packages are ES modules, and some of what they bring along is too.
  transformIgnorePatterns: [],
  moduleNameMapper: {
    '\\.(css|svg)$': '<rootDir>/src/__tests__/text.ts'
  }
};
