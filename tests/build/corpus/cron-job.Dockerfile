FROM debian:stable-slim
RUN apt-get update && apt-get -y install cron
RUN echo '* * * * * root echo "tick $(date)" >> /var/log/cron.log 2>&1\n' > /etc/cron.d/tick
RUN chmod 0644 /etc/cron.d/tick && touch /var/log/cron.log
CMD cron && tail -f /var/log/cron.log
