const swc = {
  jsc: {
    parser: { syntax: 'typescript', tsx: true },
    target: 'es2022'
  }
};

module.exports = {
  testEnvironment: 'node',
  setupFiles: ['<rootDir>/jest.setup.js'],
  testMatch: ['<rootDir>/src/__tests__/*.spec.ts', '<rootDir>/src/__tests__/*.spec.tsx'],
  // JupyterLab's packages are ES modules and bring images along.
  transform: { '\\.[jt]sx?$': ['@swc/jest', swc] },
  transformIgnorePatterns: [],
  moduleNameMapper: { '\\.svg$': '<rootDir>/jest.svg.js' }
};
