FROM ruby:3.3 AS build
RUN apt-get update -qq && apt-get install -y nodejs libpq-dev
WORKDIR /rails
COPY Gemfile Gemfile.lock ./
RUN bundle config set --local deployment true \
  && bundle install --jobs "$(nproc)" \
  && rm -rf ~/.bundle/ "${BUNDLE_PATH:-/usr/local/bundle}"/ruby/*/cache
COPY . .
RUN SECRET_KEY_BASE_DUMMY=1 ./bin/rails assets:precompile
FROM ruby:3.3-slim
COPY --from=build /usr/local/bundle /usr/local/bundle
COPY --from=build /rails /rails
WORKDIR /rails
ENTRYPOINT ["/rails/bin/docker-entrypoint"]
EXPOSE 3000
CMD ["./bin/rails", "server"]
