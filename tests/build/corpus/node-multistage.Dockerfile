# syntax=docker/dockerfile:1.7
FROM node:20 AS deps
WORKDIR /app
COPY package.json yarn.lock ./
RUN --mount=type=cache,target=/usr/local/share/.cache yarn install --frozen-lockfile

FROM deps AS test
COPY . .
RUN yarn test

FROM deps AS build
COPY . .
RUN yarn build && yarn install --production --ignore-scripts --prefer-offline

FROM node:20-slim AS release
ENV NODE_ENV=production
WORKDIR /app
COPY --from=build /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
USER 1000:1000
CMD ["node", "dist/main.js"]
