FROM node:20 AS build
WORKDIR /site
COPY . .
RUN npm ci && npm run build
FROM nginx:1.27-alpine
COPY --from=build /site/dist /usr/share/nginx/html
COPY <<EOF /etc/nginx/conf.d/default.conf
server {
    listen 80;
    root /usr/share/nginx/html;
    location / {
        try_files \$uri \$uri/ /index.html;
    }
}
EOF
