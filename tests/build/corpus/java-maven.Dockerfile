FROM maven:3.9-eclipse-temurin-21 AS build
WORKDIR /build
COPY pom.xml .
RUN --mount=type=cache,target=/root/.m2,sharing=locked mvn -B dependency:go-offline
COPY src src
RUN --mount=type=cache,target=/root/.m2,sharing=locked mvn -B package -DskipTests

FROM eclipse-temurin:21-jre
ARG JAR=/build/target/*.jar
COPY --from=build ${JAR} /app.jar
ENV JAVA_OPTS=""
EXPOSE 8080/tcp
ENTRYPOINT exec java $JAVA_OPTS -jar /app.jar
